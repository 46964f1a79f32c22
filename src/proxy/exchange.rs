//! A request and its response as one event, recorded exactly once: when this value is dropped.

use super::decide::Decision;
use super::error::Error;
use super::grpc;
use super::snapshot::LocalSnapshot;
use super::worker::Proxy;
use crate::base::body::{BodyError, Owned, Owner, Progress};
use crate::base::bounds::Exceeded;
use crate::base::clock;
use crate::split::Choice;
use crate::telemetry::metrics::{CAUSES_MAX, Metric, Metrics, Source};
use crate::telemetry::series::NO_STATUS;
use crate::telemetry::shard::Counter;
use crate::telemetry::sink::Sink;
use crate::upstream::local::Place;
use crate::upstream::receiving::Receiving;
use http::{HeaderMap, StatusCode};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

/// The code under which a request is counted whose client left before its response's head
/// (nginx's number for it).
const CLIENT_LEFT: u16 = 499;

/// An exchange that is still going on.
#[derive(Debug)]
pub struct Exchange {
    proxy: Rc<Proxy>,
    local: Rc<LocalSnapshot>,
    decision: Decision,
    started: Instant,
    code: u16,
    complete: bool,
    cause: Option<Error>,
    /// Whether it is a gRPC call.
    call: bool,
    grpc_status: u16,
}

impl Exchange {
    /// Begins with the decision.
    pub fn begin(
        proxy: &Rc<Proxy>,
        local: &Rc<LocalSnapshot>,
        decision: Decision,
        started: Instant,
        call: bool,
    ) -> Self {
        let worker = proxy.worker;
        let counts = local.snapshot.counts(decision.route);
        let shard = counts.route.shards.of(worker);
        shard.in_flight.add(1);
        if decision.choice.override_refused {
            shard.overrides_refused.increment();
        }
        let counted = counts.cell(decision.choice.arm, decision.choice.pool);
        if let (Some(cell), Some(reason)) = (counted, decision.choice.reason)
            && let Some(counter) = cell.choice.shards.of(worker).reasons.get(reason.index())
        {
            counter.increment();
        }
        Self {
            proxy: Rc::clone(proxy),
            local: Rc::clone(local),
            decision,
            started,
            code: CLIENT_LEFT,
            complete: false,
            cause: None,
            call,
            grpc_status: NO_STATUS,
        }
    }

    /// It goes to another pool than was decided for, and is one of that pool's from now on.
    pub fn moved(&mut self, choice: Choice) {
        self.decision.choice = choice;
    }

    /// Whether it is a gRPC call.
    pub fn is_call(&self) -> bool {
        self.call
    }

    /// A gRPC call ended with what is among these fields: its trailers, or the response's own.
    pub fn called(&mut self, fields: &HeaderMap) {
        if self.call
            && let Some(status) = grpc::status(fields)
        {
            self.grpc_status = status;
        }
    }

    /// The response's head is on its way to the client.
    pub fn answered(&mut self, status: StatusCode) {
        self.code = status.as_u16();
    }

    /// Serin answers itself, or breaks off what it began to answer.
    pub fn failed(&mut self, cause: Error) {
        self.cause.get_or_insert(cause);
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if !self.complete {
            self.failed(Error::ClientLeft);
        }
        let choice = self.decision.choice;
        let (snapshot, worker) = (&self.local.snapshot, self.proxy.worker);
        let counts = snapshot.counts(self.decision.route);
        let duration = clock::now().saturating_duration_since(self.started);
        if let Some(cell) = counts.cell(choice.arm, choice.pool) {
            cell.choice.shards.of(worker).codes.increment(self.code);
            cell.duration.shards.of(worker).observe(duration);
            if self.call {
                cell.duration.grpc.of(worker).increment(self.grpc_status);
            }
        }
        if let Some(statuses) = &snapshot.statuses {
            statuses.observe(worker, self.code, duration);
        }
        counts.route.shards.of(worker).in_flight.add(-1);
        if let Some(cause) = self.cause
            && let Some(counter) =
                self.proxy.metrics.causes.of(self.proxy.worker).get(cause as usize)
        {
            counter.increment();
        }
    }
}

/// The body of every response: an endpoint's or our own.
pub type ResponseBody = Owned<Receiving, Ending>;

/// What a response keeps until its last byte: its exchange, and its place at an endpoint if it has
/// one.
#[derive(Debug)]
pub struct Ending {
    exchange: Exchange,
    place: Option<Place>,
    /// What it means when the time for the exchange is over.
    end: Option<Error>,
    /// How far the request's body got, which may still be coming.
    request: Option<Rc<Progress>>,
}

impl Ending {
    /// A response that comes from this place, or one of our own.
    pub fn new(exchange: Exchange, place: Option<Place>) -> Self {
        Self { exchange, place, end: None, request: None }
    }

    /// With what may break it off: the end of its time, and a request that runs into its bounds.
    #[must_use]
    pub fn bounded(mut self, end: Option<Error>, request: Option<Rc<Progress>>) -> Self {
        (self.end, self.request) = (end, request);
        self
    }
}

impl Owner for Ending {
    fn ended(&mut self) {
        self.exchange.complete = true;
        self.place = None;
    }

    fn failed(&mut self, error: &BodyError) {
        tracing::debug!(%error, "response broke off");
        self.exchange.complete = true;
        let bound = self.request.as_ref().and_then(|request| request.exceeded());
        let cause = match error {
            BodyError::Exceeded(Exceeded::Time) => self.end,
            _ => bound.map(Error::of_bound),
        };
        self.exchange.failed(cause.unwrap_or(Error::ResponseBroken));
        self.place = None;
    }

    fn trailed(&mut self, trailers: &HeaderMap) {
        self.exchange.called(trailers);
    }

    fn interrupted(&self) -> Option<BodyError> {
        self.request.as_ref().and_then(|request| request.exceeded()).map(BodyError::Exceeded)
    }
}

/// Shows the failures by cause at each scrape.
#[derive(Debug)]
pub struct Causes(pub Arc<Metrics>);

impl Source for Causes {
    fn collect(&self, sink: &mut Sink) {
        for cause in Error::ALL {
            let meaning = cause.meaning();
            let counts = self.0.causes.iter();
            let count =
                counts.filter_map(|shard| shard.get(*cause as usize)).map(Counter::value).sum();
            sink.count(Metric::Errors, &[meaning.label, meaning.blame.label()], count);
        }
    }
}

const _: () = assert!(Error::ALL.len() <= CAUSES_MAX, "Metrics::causes has room for all");

#[cfg(test)]
mod tests {
    use crate::split::Reason;
    use crate::telemetry::series::REASONS;

    #[test]
    fn reasons_are_counted_under_their_own_names() {
        assert_eq!(Reason::ALL.map(Reason::as_str), REASONS);
    }
}
