//! Handles in messages: what a put and a get do with the descriptors of a message.
//!
//! A record's tag is 0 if its message has no handle, and 1 if its handles open their objects by
//! name. Otherwise the descriptors wait in the queue's [`Lane`], under the number of which the tag
//! is the low half. A put reserves its record, sends the descriptors, and commits. A get looks at
//! the descriptors, commits, and discards them; one whose process has all of the objects open finds
//! them there, and does not look. The lane's module says what a death leaves at each point, and
//! what mends it.

use mp_layout::Result;
use mp_object::message::{Objects, OpenObjects};
use mp_object::transfer::Descriptor;
use mp_object::{Lane, LaneError, LaneFull};

use super::{Message, RawQueue};
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
        self.ask_to_ring_again();
        let sent = &self.control().tail.sent;
        self.send_or_drain(lane, uncommitted, |lane| lane.send(sent, descriptors))
            .map_err(|error| self.not_sent(error))
    }

    /// Sends, again if the lane was full of what is no record's.
    pub(super) fn send_or_drain<R>(
        &self,
        lane: &Lane,
        uncommitted: usize,
        send: impl Fn(&Lane) -> Result<R, LaneError>,
    ) -> Result<R, LaneError> {
        match send(lane) {
            // Not if the lane has messages of records that are about to be committed.
            Err(LaneError::Full(_)) if uncommitted == 0 && self.drain(lane) => send(lane),
            result => result,
        }
    }

    /// Why a message is not put that has to send something over the lane.
    #[cold]
    pub(super) fn not_sent(&self, error: LaneError) -> PutError<()> {
        let Some(lane) = &self.lane else {
            return PutError::Closed(());
        };
        // A get makes room, and wakes. A ring, which can be all that is in the lane, has no
        // descriptors.
        let a_get_makes_room = |full| match full {
            LaneFull::Socket => !lane.is_empty(),
            LaneFull::User => !lane.is_empty() && self.len() != 0,
        };
        match error {
            LaneError::Full(full) if self.is_bounded() && a_get_makes_room(full) => {
                PutError::Full(())
            }
            LaneError::Full(full) => lane.explain(full).into(),
            LaneError::Closed => PutError::Closed(()),
            LaneError::Failed(error) => error.into(),
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

    /// The objects of the oldest message, which has handles, and its tag if its descriptors are in
    /// the lane, to be discarded after the message was taken. If they are gone, and not all
    /// objects are open, the message does not decode.
    #[cold]
    pub(super) fn find_objects(&self, message: &Message<'_>) -> Result<(Objects, Option<u32>)> {
        let Some(lane) = &self.lane else {
            return Ok((Objects::ByName, None));
        };
        let tag = message.tag();
        let open = match message.bytes() {
            Some(bytes) => OpenObjects::find(bytes),
            None => OpenObjects::find(&message.to_vec()),
        };
        if let Some(open) = open {
            return Ok((Objects::Open(open), Some(tag)));
        }
        let found = lane.find(tag)?;
        let in_lane = found.is_some().then_some(tag);
        Ok((Objects::Descriptors(found.unwrap_or_default()), in_lane))
    }

    /// Discards the descriptors of the message with this tag, which was taken, before the
    /// notification: a producer may wait for room in the lane.
    #[cold]
    pub(super) fn discard_objects(&self, tag: u32) {
        if let Some(lane) = &self.lane {
            lane.discard(tag);
            self.ring_if_closed(lane);
        }
    }
}
