//! Who breaks things: one fault after the other, then all is healed.

use millrace_log::frame::FrameHeader;
use millrace_store::{
    BLOCK,
    catalog::memory::Failure,
    disk::{
        Access, Disk, Mode, Operation,
        memory::{Crash, Fault as Injected, Unsynced},
    },
};

use crate::{
    backups::Backups,
    clients::Client,
    disk::Pace,
    plan::{Fault, Plan},
    repairs,
    server::Start,
};

/// Breaks things as planned.
pub(crate) struct Nemesis {
    pub(crate) client: Client,
    pub(crate) plan: Plan,
    pub(crate) backups: Backups,
}

impl Nemesis {
    /// One fault after the other.
    pub(crate) async fn run(&mut self) {
        for _ in 0..self.plan.rounds {
            self.client.think(self.plan.between_ms).await;
            let fault = *self.client.random.pick(&self.plan.faults);
            self.client.world.note(format_args!("FAULT: {fault:?}"));
            self.bring(fault).await;
            if self.client.server.life().is_none() {
                self.start().await;
            }
            if self.client.book.has_refused_to_start() {
                return;
            }
        }
    }

    async fn bring(&mut self, fault: Fault) {
        let server = self.client.server.clone();
        let disk = server.disk();
        let machine = disk.machine().clone();
        let random = &mut self.client.random;
        match fault {
            Fault::Kill => {
                let steps = random.below(400);
                server.kill(Crash::Kill, steps).await;
            }
            Fault::PowerCut => {
                let steps = random.below(400);
                let crash = self.power_cut();
                server.kill(crash, steps).await;
            }
            Fault::KillThenPowerCut => {
                let (steps, served) = (random.below(400), random.below(300));
                server.kill(Crash::Kill, steps).await;
                server.begin_start();
                self.client.world.sleep_ms(served).await;
                let steps = self.client.random.below(300);
                let crash = self.power_cut();
                server.kill(crash, steps).await;
            }
            Fault::Stop => {
                if server.shutdown().await.is_err() {
                    self.client.book.violation("no-hang", "the server does not stop".into());
                }
            }
            Fault::FailOnce => machine.fail_nth(random.within(1, 200), Injected::Io),
            Fault::FullOnce => machine.fail_nth(random.within(1, 200), Injected::Full),
            Fault::FailSyncs => {
                machine.fail_every(Operation::Sync, Injected::Io);
                let ms = random.within(1, 3_000);
                self.client.world.sleep_ms(ms).await;
                server.disk().machine().heal();
            }
            Fault::Full => {
                let space = machine.space();
                if let Ok(space) = space {
                    machine.set_capacity(space.total - space.free + random.below(1 << 20));
                }
                let ms = random.within(100, 15_000);
                self.client.world.sleep_ms(ms).await;
                server.disk().machine().set_capacity(self.plan.capacity);
            }
            Fault::Clock => {
                let hour = 3_600_000;
                let ms = *random.pick(&[-hour, -60_000, -500, 500, 30_000, hour, 24 * hour]);
                self.client.book.clock_jumps();
                self.client.world.jump_wall(ms);
            }
            Fault::Pace => disk.set_pace(*random.pick(&[Pace::Fast, Pace::Usual, Pace::Slow])),
            Fault::Catalog => {
                let failures = [Failure::Away, Failure::UnknownDone, Failure::UnknownNotDone];
                server.catalog().inner().fail_nth(random.within(1, 4), *random.pick(&failures));
            }
            Fault::Rot => self.rot(),
            Fault::KillAndRot => {
                let steps = random.below(400);
                server.kill(Crash::Kill, steps).await;
                self.rot_below_synced();
            }
            Fault::Misdirect => disk.misdirect(random.below(30)),
            Fault::Repair => {
                let steps = random.below(400);
                for _ in 0..random.below(6) {
                    self.rot();
                }
                server.kill(Crash::Kill, steps).await;
                repairs::repair(&self.client).await;
            }
            Fault::Backup => self.backups.one(&mut self.client, &self.plan, None).await,
            Fault::BackupAndKill => {
                let powerless = self.plan.faults.contains(&Fault::PowerCut);
                let powerless = powerless && self.client.random.percent(50);
                let crash = if powerless { self.power_cut() } else { Crash::Kill };
                self.backups.one(&mut self.client, &self.plan, Some(crash)).await;
            }
        }
    }

    fn power_cut(&mut self) -> Crash {
        let unsynced = [Unsynced::Lost, Unsynced::Torn, Unsynced::Torn, Unsynced::Kept];
        Crash::PowerCut(*self.client.random.pick(&unsynced))
    }

    /// Flips a bit of a file that is not the one being written: what is in it
    /// is proven to be synced.
    fn rot(&mut self) {
        let disk = self.client.server.disk();
        let machine = disk.machine();
        let Ok(names) = machine.list() else { return };
        let is_log = |name: &String| millrace_store::engine::is_log_file(name);
        let (mut logs, mut settled): (Vec<String>, Vec<String>) =
            names.into_iter().filter(is_log).partition(|name| name.ends_with(".wal"));
        // The present file, and the one that is made ready.
        logs.truncate(logs.len().saturating_sub(2));
        settled.append(&mut logs);
        if settled.is_empty() {
            return;
        }
        let name = self.client.random.pick(&settled).clone();
        let bytes = machine.settled_length(&name);
        if bytes == 0 {
            return;
        }
        let position = self.client.random.below(bytes);
        let bit = u8::try_from(self.client.random.below(8)).unwrap_or(0);
        self.client.world.note(format_args!("rot: bit {bit} of byte {position} of {name}"));
        machine.rot(&name, position, bit);
    }

    /// Flips a bit of the newest log file with frames, where one of them says
    /// that it is synced.
    fn rot_below_synced(&mut self) {
        let disk = self.client.server.disk();
        let machine = disk.machine();
        let Ok(names) = machine.list() else { return };
        for name in names.iter().rev().filter(|name| name.ends_with(".wal")) {
            let synced_to = synced_to(machine, name).unwrap_or(0);
            let first = BLOCK as u64;
            if synced_to <= first {
                continue;
            }
            let position = first + self.client.random.below(synced_to - first);
            let bit = u8::try_from(self.client.random.below(8)).unwrap_or(0);
            self.client.world.note(format_args!("rot: bit {bit} of byte {position} of {name}"));
            machine.rot(name, position, bit);
            return;
        }
    }

    /// Starts the server, as often as it takes.
    pub(crate) async fn start(&mut self) {
        for attempt in 0u32.. {
            // A start may die as anything else.
            let again = self.client.random.percent(15) && attempt < 5;
            if again {
                let server = self.client.server.clone();
                server.begin_start();
                let steps = self.client.random.below(300);
                self.client.world.sleep_us(1).await;
                let powerless =
                    self.plan.faults.contains(&Fault::PowerCut) && self.client.random.percent(50);
                let crash = if powerless { self.power_cut() } else { Crash::Kill };
                server.kill(crash, steps).await;
                continue;
            }
            match self.client.server.start().await {
                Start::Serving => return,
                Start::Failed(error) => {
                    // The process is gone; the machine goes on.
                    self.client.server.kill(Crash::Kill, 0).await;
                    if attempt > 20 {
                        self.client.book.start_failed(&error);
                        return;
                    }
                    self.client.world.sleep_ms(500).await;
                }
                Start::Killed => {}
            }
        }
    }
}

/// The highest position that a frame of a log file says is synced.
fn synced_to(disk: &dyn Disk, name: &str) -> Option<u64> {
    let file = disk.open(name, Access::Read, Mode::Buffered).ok()?;
    let mut bytes = vec![0; usize::try_from(file.length().ok()?).ok()?];
    let len = file.read_at(0, &mut bytes).ok()?;
    bytes.truncate(len);
    let headers = bytes.chunks(BLOCK).filter_map(|block| FrameHeader::peek(block).ok());
    headers.map(|header| header.synced_to).max()
}
