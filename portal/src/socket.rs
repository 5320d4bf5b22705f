//! A TCP stream that can end with a reset, and has timeouts.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep};

/// Shared by a socket and whoever answers what comes through it.
#[derive(Clone, Debug)]
pub(crate) struct Line(Arc<State>);

#[derive(Debug)]
struct State {
    reset: AtomicBool,
    wait: Mutex<Wait>,
}

#[derive(Debug)]
struct Wait {
    phase: Phase,
    /// The task that reads. Without a timer, it must be woken by the next phase.
    reader: Option<Waker>,
}

/// What the socket waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The head of a hit, or the handshake before it.
    Head,
    /// More of a body.
    Body,
    /// Nothing: a hit is being answered.
    Answer,
    /// The next hit.
    Idle,
}

impl Line {
    pub(crate) fn new() -> Self {
        let wait = Mutex::new(Wait { phase: Phase::Head, reader: None });
        Self(Arc::new(State { reset: AtomicBool::new(false), wait }))
    }

    /// The connection is to be reset.
    pub(crate) fn reset(&self) {
        self.0.reset.store(true, Ordering::Release);
    }

    fn is_to_be_reset(&self) -> bool {
        self.0.reset.load(Ordering::Acquire)
    }

    /// A head has been read.
    pub(crate) fn has_head(&self, body_follows: bool) {
        self.set(if body_follows { Phase::Body } else { Phase::Answer });
    }

    /// A body has been read.
    pub(crate) fn has_body(&self) {
        self.set(Phase::Answer);
    }

    /// The answer is on its way.
    pub(crate) fn is_idle(&self) {
        self.set(Phase::Idle);
    }

    fn set(&self, phase: Phase) {
        let mut wait = self.0.wait.lock().unwrap_or_else(PoisonError::into_inner);
        wait.phase = phase;
        if let Some(reader) = wait.reader.take() {
            reader.wake();
        }
    }

    fn phase(&self) -> Phase {
        self.0.wait.lock().unwrap_or_else(PoisonError::into_inner).phase
    }

    /// What is waited for now; while that is nothing, the reader is woken by the next phase.
    fn waiting(&self, reader: &Waker) -> Phase {
        let mut wait = self.0.wait.lock().unwrap_or_else(PoisonError::into_inner);
        if wait.phase == Phase::Answer {
            wait.reader = Some(reader.clone());
        }
        wait.phase
    }
}

/// How long a socket waits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// For a whole head, and for any part of a body.
    pub(crate) read: Duration,
    pub(crate) idle: Duration,
}

/// The stream of one connection.
pub(crate) struct Socket {
    stream: TcpStream,
    line: Line,
    patience: Patience,
    timer: Pin<Box<Sleep>>,
    /// What the timer runs for; nothing if it does not.
    timed: Option<Phase>,
}

impl Socket {
    pub(crate) fn new(stream: TcpStream, line: Line, patience: Patience) -> Self {
        let timer = Box::pin(sleep(patience.read));
        Self { stream, line, patience, timer, timed: Some(Phase::Head) }
    }

    /// Whether the client has taken too long for what is waited for.
    fn is_out_of_patience(&mut self, cx: &mut Context<'_>) -> bool {
        let phase = self.line.waiting(cx.waker());
        let patience = match phase {
            Phase::Answer => {
                self.timed = None;
                return false;
            }
            Phase::Head | Phase::Body => self.patience.read,
            Phase::Idle => self.patience.idle,
        };
        if self.timed != Some(phase) {
            self.timer.as_mut().reset(Instant::now() + patience);
            self.timed = Some(phase);
        }
        self.timer.as_mut().poll(cx).is_ready()
    }

    /// Something has come: the next hit has begun, or there is more of a body.
    fn has_read(&mut self) {
        match self.line.phase() {
            Phase::Idle => self.line.set(Phase::Head),
            Phase::Body => self.timed = None,
            // A head has one term for all of it.
            Phase::Head | Phase::Answer => {}
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if self.line.is_to_be_reset() {
            // If even this fails, the peer sees the connection close, which is what it gets.
            drop(self.stream.set_zero_linger());
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let filled = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if buf.filled().len() > filled {
            self.has_read();
        }
        if read.is_pending() && self.is_out_of_patience(cx) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        read
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.line.is_to_be_reset() {
            // A normal close would arrive before the reset.
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
