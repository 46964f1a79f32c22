//! Asks a silent client whether it is there.

use crate::base::clock;
use crate::base::deadline::Deadline;
use crate::listener::connections::Connection;
use crate::listener::timers::Timers;
use h2::{Ping, PingPong};
use std::pin::Pin;
use std::task::{Context, Poll};

/// What is known of whether the client is there.
#[derive(Debug)]
pub(super) struct KeepAlive {
    pings: Option<PingPong>,
    deadline: Deadline,
    /// Whether it was asked, and has sent nothing since.
    asked: bool,
}

impl KeepAlive {
    /// Begins with a client that has just been heard.
    pub(super) fn new(pings: Option<PingPong>, timers: &Timers) -> Self {
        Self { pings, deadline: timers.silence.begin(clock::now()), asked: false }
    }

    /// Ready when the client has not answered in time. It is asked after one to two times the limit
    /// of silence; anything that it sends is an answer.
    pub(super) fn poll_lost(
        &mut self,
        cx: &mut Context<'_>,
        known: &Connection,
        timers: &Timers,
    ) -> Poll<()> {
        while Pin::new(&mut self.deadline).poll(cx).is_ready() {
            let silent = !known.take_heard();
            if silent && self.asked {
                return Poll::Ready(());
            }
            self.asked = silent;
            let next = if silent { &timers.answer } else { &timers.silence };
            self.deadline = next.begin(clock::now());
            if silent && let Some(pings) = &mut self.pings {
                // An answer that has come makes room for the next question.
                let _ = pings.poll_pong(cx);
                let _ = pings.send_ping(Ping::opaque());
            }
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use crate::base::deadline::Deadlines;
    use crate::base::incoming::Incoming;
    use crate::listener::limits::Limits;
    use crate::listener::testing::{Serving, pair};
    use crate::listener::timers::Timers;
    use bytes::Bytes;
    use http::{Request, Response};
    use http_body_util::Empty;
    use std::convert::Infallible;
    use std::rc::Rc;
    use std::time::{Duration, Instant};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;
    use tokio::task::LocalSet;

    const SILENCE: Duration = Duration::from_millis(20);
    const ANSWER: Duration = Duration::from_secs(1);
    /// How often the client answers.
    const ANSWERS: u32 = 2;
    // Types of frames and the flag of their answers (RFC 9113 section 6).
    const SETTINGS: u8 = 4;
    const PING: u8 = 6;
    const GOAWAY: u8 = 7;
    const ACK: u8 = 1;

    async fn serve(stream: TcpStream) {
        let mut timers = Timers::new(&Limits::default());
        timers.silence = Rc::new(Deadlines::new(SILENCE));
        timers.answer = Rc::new(Deadlines::new(ANSWER));
        let service = tower::service_fn(async |_: Request<Incoming>| {
            Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
        });
        let serving = Serving { timers: Some(timers), ..Serving::default() };
        serving.start(stream, service).1.await.unwrap();
    }

    /// Answers some of the questions whether it is there, and says how many there were, when it
    /// answered last, and when the connection was closed.
    async fn client(mut stream: TcpStream) -> (u32, Instant, Instant) {
        let empty = |kind, flags| [0, 0, 0, kind, flags, 0, 0, 0, 0];
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        stream.write_all(&empty(SETTINGS, 0)).await.unwrap();
        let (mut asked, mut answered, mut away) = (0, Instant::now(), None);
        let mut head = [0; 9];
        while stream.read_exact(&mut head).await.is_ok() {
            let length = usize::from(head[1]) << 8 | usize::from(head[2]);
            let mut payload = vec![0; length];
            stream.read_exact(&mut payload).await.unwrap();
            match (head[3], head[4] & ACK) {
                (SETTINGS, 0) => stream.write_all(&empty(SETTINGS, ACK)).await.unwrap(),
                (PING, 0) => {
                    asked += 1;
                    if asked <= ANSWERS {
                        let answer = [0, 0, 8, PING, ACK, 0, 0, 0, 0];
                        stream.write_all(&[&answer[..], &payload].concat()).await.unwrap();
                        answered = Instant::now();
                    }
                }
                (GOAWAY, _) => away = Some(Instant::now()),
                _ => {}
            }
        }
        (asked, answered, away.unwrap())
    }

    #[tokio::test]
    async fn a_client_that_answers_is_kept_and_one_that_does_not_is_closed() {
        let both = async {
            let (near, far) = pair().await;
            tokio::join!(serve(far), client(near)).1
        };
        let (asked, answered, away) = LocalSet::new().run_until(both).await;
        assert_eq!(asked, ANSWERS + 1);
        let waited = away - answered;
        assert!(waited >= SILENCE + ANSWER, "{waited:?}");
    }
}
