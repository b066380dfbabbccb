//! Handles in messages: what a put and a get do with the descriptors of a message.
//!
//! A record's tag is 0 if its message has no handle, and 1 if its handles open their objects by
//! name. Otherwise the descriptors wait in the queue's [`Lane`], under the number of which the tag
//! is the low half. A put reserves its record, sends the descriptors, and commits. A get looks at
//! the descriptors, commits, and discards them. The lane's module says what a death leaves at each
//! point, and what mends it.

use std::os::fd::OwnedFd;

use mp_layout::Result;
use mp_object::transfer::Descriptor;
use mp_object::{Lane, LaneError};

use super::RawQueue;
use crate::PutError;

/// The tag of a record whose handles open their objects by name.
const BY_NAME: u32 = 1;

impl RawQueue {
    /// Sends the descriptors of a message whose record is about to be committed, after so many
    /// others, and returns the record's tag.
    #[cold]
    pub(super) fn send_objects(
        &self,
        descriptors: &[Descriptor],
        uncommitted: usize,
    ) -> Result<u32, PutError<()>> {
        let Some(lane) = &self.lane else {
            return Ok(BY_NAME);
        };
        let sent = &self.control().tail.sent;
        let mut result = lane.send(sent, descriptors);
        // Not if the lane has messages of records that are about to be committed.
        let may_drain = uncommitted == 0 && matches!(result, Err(LaneError::Full(_)));
        if may_drain && self.drain(lane) {
            result = lane.send(sent, descriptors);
        }
        match result {
            Ok(tag) => Ok(tag),
            // A get makes room, and wakes.
            Err(LaneError::Full(_)) if self.is_bounded() && !lane.is_empty() => {
                Err(PutError::Full(()))
            }
            Err(LaneError::Full(full)) => Err(lane.explain(full).into()),
            Err(LaneError::Closed) => Err(PutError::Closed(())),
            Err(LaneError::Failed(error)) => Err(error.into()),
        }
    }

    /// Discards what senders left in the lane that died before they committed, if the queue is
    /// empty. Under the producers' lock; tries the consumers' (I7).
    fn drain(&self, lane: &Lane) -> bool {
        let Ok(mut consumers) = self.control().consumers.try_lock() else {
            return false;
        };
        consumers.recover();
        self.len() == 0 && lane.drain()
    }

    /// The descriptors of the oldest message, which has handles, and whether they are in front of
    /// the lane, to be discarded after the message was taken. If they are gone there are none,
    /// and the message does not decode.
    #[cold]
    pub(super) fn find_objects(&self, tag: u32) -> Result<(Option<Vec<OwnedFd>>, bool)> {
        let found = match &self.lane {
            Some(lane) => lane.find(tag)?,
            None => None,
        };
        let is_in_lane = found.is_some();
        Ok((Some(found.unwrap_or_default()), is_in_lane))
    }

    /// Discards the descriptors of a message that was taken, before the notification: a producer
    /// may wait for room in the lane.
    #[cold]
    pub(super) fn discard_objects(&self) {
        if let Some(lane) = &self.lane {
            lane.discard();
        }
    }
}
