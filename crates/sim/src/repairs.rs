//! Repairs of the simulated server: after rot a person checks the stopped
//! directory, gives up what was found to be lost, and goes on.
//!
//! Invariant: what was printed as given up is all that may be missing since.

use std::sync::Arc;

use millrace_store::{
    catalog::Catalog,
    check::{CheckProgress, CheckRequest, Finding, FindingKind, check},
    repair::{give_up, skips_of},
};

use crate::{clients::Client, world::World};

/// Gives up all that a check finds to be lost, of a server that is stopped.
pub(crate) async fn repair(client: &Client) {
    let Some(found) = lost(client).await else { return };
    for finding in &found {
        let Some(given) = skips_of(finding) else { continue };
        for given in &given {
            let skip = given.skip;
            client.book.given_up(skip.partition, skip.first.get(), skip.end.get(), given.ends);
        }
        let log_id = log_id(client).await;
        let disk = client.server.disk();
        if give_up(disk.machine(), log_id, &given).is_err() {
            return;
        }
    }
    if found.is_empty() {
        return;
    }
    // Nothing of it is left to be done.
    for finding in lost(client).await.unwrap_or_default() {
        client.book.violation("repair", format!("found again: {finding:?}"));
    }
}

/// What a check finds that can be given up; `None` where it cannot be said.
async fn lost(client: &Client) -> Option<Vec<Finding>> {
    let world: &World = &client.world;
    let catalog = client.server.catalog().inner().load().await.ok()?;
    let request = CheckRequest {
        env: Arc::new(world.outside()),
        disk: Arc::new(client.server.disk().machine().clone()),
        catalog,
        only: None,
    };
    let (mut found, mut starts) = (Vec::new(), true);
    let checked = check(&request, &CheckProgress::default(), &mut |finding| {
        world.note(format_args!("found: {finding:?}"));
        starts &= finding.kind != FindingKind::Start;
        let kinds =
            [FindingKind::Batch, FindingKind::Frames, FindingKind::Lost, FindingKind::Footer];
        if kinds.contains(&finding.kind) && !finding.lost.is_empty() {
            found.push(finding);
        }
    });
    // Without a start nobody knows what is asked for.
    checked.is_ok_and(|_| starts).then_some(found)
}

async fn log_id(client: &Client) -> [u8; 16] {
    let state = client.server.catalog().inner().load().await;
    state.ok().and_then(|state| state.identity).map(|identity| identity.log_id).unwrap_or_default()
}
