//! What a member sends.

use std::time::Duration;

use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    GroupId, HeartbeatRequest, JoinGroupRequest, LeaveGroupRequest, SyncGroupRequest,
};
use kafka_protocol::protocol::StrBytes;

use super::{Call, Membership};
use crate::consumer::assignor::Plan;
use crate::consumer::protocol::{PROTOCOL_TYPE, Subscription, encode_assignment};

/// Added to the rebalance timeout, because the broker answers only when it is over (Java
/// `AbstractCoordinator.JOIN_GROUP_TIMEOUT_LAPSE`).
const LAPSE: Duration = Duration::from_secs(5);
/// A heartbeat without an answer for so large a part of the session timeout has failed, so that there is time to find
/// another coordinator. Ours; Java waits for its request timeout.
const HEARTBEATS_A_SESSION: u32 = 3;

impl Membership {
    pub(super) fn join_call(&self, reason: &str) -> Call {
        let subscription = Subscription {
            topics: self.config.topics.clone(),
            user_data: None,
            // Nothing is owned while joining eagerly.
            owned: self.owned.keys().cloned().collect(),
            generation: Some(self.assigned_in).filter(|generation| *generation >= 0),
        };
        let protocols = self.config.assignors.iter().map(|assignor| {
            let user_data = assignor.user_data(self.assigned_in);
            let subscription = Subscription {
                user_data,
                ..subscription.clone()
            };
            JoinGroupRequestProtocol::default()
                .with_name(StrBytes::from_static_str(assignor.name()))
                .with_metadata(subscription.encode())
        });
        let request = JoinGroupRequest::default()
            .with_group_id(self.group_id())
            .with_session_timeout_ms(millis(self.config.session_timeout))
            .with_rebalance_timeout_ms(millis(self.config.rebalance_timeout))
            .with_member_id(text(&self.member_id))
            .with_group_instance_id(self.instance_id())
            .with_protocol_type(StrBytes::from_static_str(PROTOCOL_TYPE))
            .with_protocols(protocols.collect())
            .with_reason(Some(text(reason)));
        Call::Join {
            request,
            patience: self.config.rebalance_timeout + LAPSE,
        }
    }

    /// `plan`: everybody's partitions, from the leader alone.
    pub(super) fn sync_call(&self, plan: &Plan) -> Call {
        let assignments = plan.iter().map(|(member, partitions)| {
            SyncGroupRequestAssignment::default()
                .with_member_id(text(member))
                .with_assignment(encode_assignment(partitions))
        });
        let request = SyncGroupRequest::default()
            .with_group_id(self.group_id())
            .with_generation_id(self.generation)
            .with_member_id(text(&self.member_id))
            .with_group_instance_id(self.instance_id())
            .with_protocol_type(Some(StrBytes::from_static_str(PROTOCOL_TYPE)))
            .with_protocol_name(
                self.assignor
                    .map(|assignor| StrBytes::from_static_str(assignor.name())),
            )
            .with_assignments(assignments.collect());
        Call::Sync {
            request,
            patience: self.config.rebalance_timeout + LAPSE,
        }
    }

    pub(super) fn heartbeat_call(&self) -> Call {
        let request = HeartbeatRequest::default()
            .with_group_id(self.group_id())
            .with_generation_id(self.generation)
            .with_member_id(text(&self.member_id))
            .with_group_instance_id(self.instance_id());
        Call::Heartbeat {
            request,
            patience: self.config.session_timeout / HEARTBEATS_A_SESSION,
        }
    }

    pub(super) fn leave_call(&self, reason: &str) -> Call {
        let member = MemberIdentity::default()
            .with_member_id(text(&self.member_id))
            .with_group_instance_id(self.instance_id())
            .with_reason(Some(text(reason)));
        let request = LeaveGroupRequest::default()
            .with_group_id(self.group_id())
            .with_members(vec![member]);
        Call::Leave {
            request,
            patience: super::LEAVE_TIMEOUT,
        }
    }

    fn group_id(&self) -> GroupId {
        GroupId(text(&self.config.group))
    }

    fn instance_id(&self) -> Option<StrBytes> {
        self.instance().map(text)
    }
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn millis(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}
