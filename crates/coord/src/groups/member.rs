//! One member of a live group.

use std::{collections::BTreeSet, sync::Arc};

use bytes::Bytes;

use super::{
    effects::{JoinedMember, Reply},
    ids::{InstanceId, MemberId, Token},
    record::MemberMetadata,
    request::{JoinRequest, Protocol},
    timers::Timer,
};

#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) id: MemberId,
    pub(crate) instance: Option<InstanceId>,
    pub(crate) client_id: Arc<str>,
    pub(crate) client_host: Arc<str>,
    pub(crate) session_timeout_ms: i32,
    pub(crate) rebalance_timeout_ms: i32,
    /// Each name once.
    pub(crate) protocols: Vec<Protocol>,
    pub(crate) assignment: Bytes,
    /// The join that waits for everyone else's.
    pub(crate) joining: Option<Token>,
    /// The sync that waits for the leader's.
    pub(crate) syncing: Option<Token>,
    /// Whether it never completed a join: it can't heartbeat yet, so that
    /// waiting doesn't keep it alive.
    pub(crate) is_new: bool,
    /// Ends the session.
    pub(crate) session: Timer,
}

impl Member {
    pub(crate) fn new(id: MemberId, request: &JoinRequest) -> Self {
        Self {
            id,
            instance: request.instance.clone(),
            client_id: request.client_id.clone(),
            client_host: request.client_host.clone(),
            session_timeout_ms: request.session_timeout_ms,
            rebalance_timeout_ms: request.rebalance_timeout_ms,
            protocols: owned_protocols(&request.protocols),
            assignment: Bytes::new(),
            joining: None,
            syncing: None,
            is_new: true,
            session: Timer::default(),
        }
    }

    /// A member as the log has it. It knows the group's protocol only, until
    /// it joins again.
    pub(crate) fn restored(stored: &MemberMetadata, protocol_name: &Arc<str>) -> Self {
        Self {
            id: stored.member.clone(),
            instance: stored.instance.clone(),
            client_id: stored.client_id.clone(),
            client_host: stored.client_host.clone(),
            session_timeout_ms: stored.session_timeout_ms,
            rebalance_timeout_ms: stored.rebalance_timeout_ms,
            protocols: vec![Protocol {
                name: protocol_name.clone(),
                metadata: stored.subscription.clone(),
            }],
            assignment: stored.assignment.clone(),
            joining: None,
            syncing: None,
            is_new: false,
            session: Timer::default(),
        }
    }

    pub(crate) fn stored(&self, protocol_name: Option<&str>, assignment: Bytes) -> MemberMetadata {
        MemberMetadata {
            member: self.id.clone(),
            instance: self.instance.clone(),
            client_id: self.client_id.clone(),
            client_host: self.client_host.clone(),
            rebalance_timeout_ms: self.rebalance_timeout_ms,
            session_timeout_ms: self.session_timeout_ms,
            subscription: self.metadata(protocol_name),
            assignment,
        }
    }

    pub(crate) fn joined(&self, protocol_name: Option<&str>) -> JoinedMember {
        JoinedMember {
            member: self.id.clone(),
            instance: self.instance.clone(),
            metadata: self.metadata(protocol_name),
        }
    }

    /// What the member said for a protocol; nothing for one it doesn't know.
    pub(crate) fn metadata(&self, protocol_name: Option<&str>) -> Bytes {
        self.protocols
            .iter()
            .find(|protocol| Some(&*protocol.name) == protocol_name)
            .map(|protocol| protocol.metadata.clone())
            .unwrap_or_default()
    }

    /// Whether the member says now what it said before.
    pub(crate) fn said(&self, protocols: &[Protocol]) -> bool {
        owned_protocols(protocols) == self.protocols
    }

    /// Whether a request waits, which keeps the session alive.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.is_new && (self.joining.is_some() || self.syncing.is_some())
    }

    /// Ends whatever waits, with these replies.
    pub(crate) fn end_waiting(&mut self, join: Reply, sync: Reply) -> Vec<(Token, Reply)> {
        let join = self.joining.take().map(|token| (token, join));
        let sync = self.syncing.take().map(|token| (token, sync));
        join.into_iter().chain(sync).collect()
    }
}

/// The protocols without repeated names, in memory of their own: the bytes of
/// a request are a slice of a large receive buffer, which must not stay for as
/// long as the member does.
pub(crate) fn owned_protocols(protocols: &[Protocol]) -> Vec<Protocol> {
    let mut names = BTreeSet::new();
    let first = |protocol: &&Protocol| names.insert(protocol.name.clone());
    let owned = |protocol: &Protocol| Protocol {
        name: protocol.name.clone(),
        metadata: Bytes::copy_from_slice(&protocol.metadata),
    };
    protocols.iter().filter(first).map(owned).collect()
}
