//! Bodies that note the pull when their last byte is sent.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use actix_web::{
    body::{BodySize, MessageBody},
    web,
};
use bytes::Bytes;
use iocast_app::{App, Client, PullNote, PullUnderWay};
use tokio::time::{Sleep, sleep};

use super::{CHUNK, LAST, PATIENCE};
use crate::connections::{Deadline, Socket};

pub(super) struct Note {
    pub(super) app: web::Data<App>,
    pub(super) pulled: PullNote,
    pub(super) client: Client,
    pub(super) socket: Option<Socket>,
    pub(super) _under_way: PullUnderWay,
}

/// A body of known length in pieces. Of an entry document the last piece is held back until all
/// others are on their way to the client, and the pull is noted after it: a client that goes away
/// midway did not pull.
pub(super) struct TrackedBody {
    pub(super) bytes: Bytes,
    pub(super) length: u64,
    pub(super) handed_over: usize,
    /// The buffers were given a chance to be written since the last piece.
    pub(super) flushed: bool,
    pub(super) waiting: Option<Pin<Box<Sleep>>>,
    pub(super) note: Option<Note>,
    /// Until when it must be sent.
    pub(super) _deadline: Option<Deadline>,
}

impl TrackedBody {
    pub(super) fn new(bytes: Bytes, length: u64, note: Option<Note>) -> Self {
        Self { bytes, length, handed_over: 0, flushed: false, waiting: None, note, _deadline: None }
    }

    /// Where the next piece ends.
    fn next_end(&self) -> usize {
        let whole = self.bytes.len();
        let held_back = if self.note.is_some() { LAST.min(whole / 2) } else { 0 };
        let before_last = whole - held_back;
        if self.handed_over < before_last {
            (self.handed_over + CHUNK).min(before_last)
        } else {
            whole
        }
    }
}

impl MessageBody for TrackedBody {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Sized(self.length)
    }

    fn poll_next(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Infallible>>> {
        let this = self.get_mut();
        let end = this.next_end();
        let last = end == this.bytes.len();
        if let Some(note) = &this.note
            && last
            && this.handed_over > 0
        {
            if !this.flushed {
                // Once around the loop: what is buffered is written first, and a broken line drops
                // this body.
                this.flushed = true;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            while this.handed_over < end && !note.socket.as_ref().is_none_or(Socket::is_drained) {
                let waiting = this.waiting.get_or_insert_with(|| Box::pin(sleep(PATIENCE)));
                if waiting.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                this.waiting = None;
            }
        }
        if this.handed_over < this.bytes.len() {
            let piece = this.bytes.slice(this.handed_over..end);
            this.handed_over = end;
            this.flushed = false;
            return Poll::Ready(Some(Ok(piece)));
        }
        if let Some(Note { app, pulled, client, socket, _under_way }) = this.note.take() {
            if let Some(socket) = socket {
                socket.tell_when_drained(false);
            }
            app.watch.pull_note(pulled, client, 200, this.length);
        }
        Poll::Ready(None)
    }
}
