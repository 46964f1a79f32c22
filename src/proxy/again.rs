//! The attempts of a request: the first, and those after it that the route allows.

use super::attempt::{Answer, Failure, Means, Repeat, attempt};
use super::decide::Usability;
use super::error::Error;
use super::exchange::Exchange;
use super::retry::Retry;
use super::snapshot::{LocalSnapshot, Route};
use super::timeouts::End;
use super::upgrade::Upgrade;
use super::worker::Proxy;
use crate::base::body::Progress;
use crate::base::clock;
use crate::base::deadline::Deadlines;
use crate::base::http1::wire::Informational;
use crate::base::incoming::Incoming;
use crate::split::{Choice, PoolIndex};
use crate::upstream::balance::Balance;
use crate::upstream::http1::head::Form;
use crate::upstream::local::{Admitted, Ask, LocalEndpoint, LocalPool, Place, Retrying};
use crate::upstream::outgoing::Outgoing;
use futures_util::future::select_all;
use http::{Method, response};
use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::time::Instant;

/// A pool that a request may go to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Way {
    /// The pool.
    pub pool: PoolIndex,
    /// The hash of the request's key, if the pool's policy asks for one.
    pub hash: Option<u64>,
}

/// Where a request would go without the pool that was decided for.
#[derive(Debug)]
pub(super) struct Elsewhere {
    /// The best way comes first. For who may have to wait, that to the pool itself is among them.
    pub(super) ways: Vec<Onward>,
    /// Whether a retry may leave for there too.
    pub(super) retries: bool,
}

/// A way that is taken instead of another.
#[derive(Debug)]
pub(super) struct Onward {
    pub(super) way: Way,
    /// The choice that leads there.
    pub(super) choice: Choice,
}

/// How a request is to be delivered, in whichever attempt.
pub(super) struct Manner {
    /// Where it was decided to go.
    pub(super) way: Way,
    /// Where it would go without that pool, if it may leave it; in a box, because most requests
    /// need no room for this.
    pub(super) elsewhere: Option<Box<Elsewhere>>,
    pub(super) method: Method,
    pub(super) call: bool,
    /// In which form the fields of the response are wanted.
    pub(super) form: Form,
    /// Whether nothing of it is gone once it was sent, so that it can be sent again.
    pub(super) whole: bool,
    pub(super) upgrade: Option<Box<Upgrade>>,
    pub(super) informational: Option<Informational>,
    pub(super) progress: Option<Rc<Progress>>,
    pub(super) deadlines: Rc<Deadlines>,
}

/// What all attempts of a request share.
pub(super) struct Delivery<'a> {
    pub(super) proxy: &'a Proxy,
    pub(super) exchange: &'a mut Exchange,
    pub(super) local: &'a LocalSnapshot,
    pub(super) route: &'a Route,
    pub(super) manner: &'a Manner,
    pub(super) outgoing: &'a mut Outgoing<Incoming>,
    pub(super) end: &'a mut Option<End>,
    pub(super) started: Instant,
    /// Where it has to go first, if it decides about an endpoint's return.
    pub(super) trial: Option<Box<Place>>,
    /// The request's place in its pool.
    pub(super) admitted: Admitted,
    /// The way that it takes now.
    pub(super) way: &'a Way,
}

/// Says which responses are not passed on because the request is sent again.
#[derive(Debug)]
pub struct Judge<'a> {
    retry: &'a Retry,
    method: &'a Method,
    call: bool,
    /// The retry that the response is to, which is over when another is made.
    own: i64,
    /// The pool whose budget the retry is charged to.
    pool: &'a Rc<LocalPool>,
    granted: RefCell<Option<Retrying>>,
}

impl Judge<'_> {
    /// Whether a response is passed over, and the retry within the budget; `all` says whether its
    /// head is all there is of it.
    pub fn discards(&self, parts: &response::Parts, all: bool) -> bool {
        let (retry, call) = (self.retry, self.call && all);
        retry.retries_response(parts.status, &parts.headers, self.method, call) && self.grant()
    }

    /// Whether there is room in the budget, which is then taken.
    fn grant(&self) -> bool {
        let (requests, retries) = self.pool.load();
        let granted = self.retry.is_within_budget(requests, retries - self.own);
        if granted {
            *self.granted.borrow_mut() = Some(self.pool.retry());
        } else {
            self.pool.refuse_retry();
        }
        granted
    }
}

/// The best of these ways: the first whose pool has an endpoint, one that health speaks for as long
/// as there is any.
fn best<'w>(
    local: &LocalSnapshot,
    ways: impl Iterator<Item = &'w Onward> + Clone,
) -> Option<&'w Onward> {
    let leads = |onward: &&Onward| {
        local.pool(onward.way.pool).is_some_and(|(pool, _)| pool.has_untried(&[]))
    };
    let sound =
        |onward: &&Onward| local.snapshot.usability_again(onward.way.pool) == Usability::Usable;
    ways.clone().filter(sound).find(leads).or_else(|| ways.into_iter().find(leads))
}

/// Waits until a pool has no endpoint left and there is a way to one that has.
async fn onward<'w>(local: &LocalSnapshot, pool: &LocalPool, ways: &'w [Onward]) -> &'w Onward {
    loop {
        if !pool.has_untried(&[])
            && let Some(onward) = best(local, ways.iter())
        {
            return onward;
        }
        let others = ways.iter().filter_map(|onward| local.pool(onward.way.pool));
        let pools = std::iter::once(pool).chain(others.map(|(other, _)| &**other));
        select_all(pools.map(|pool| Box::pin(pool.changed()))).await;
    }
}

impl<'a> Delivery<'a> {
    /// Attempts until there is a response to pass on, or no attempt left that may bring one.
    pub(super) async fn run(&mut self) -> Result<(Answer, Place), Error> {
        if self.outgoing.is_open() {
            // In a box, because hardly any request needs room for this.
            Box::pin(self.settle()).await?;
        }
        let (pool, balance) = self.enter_first().await?;
        let (random, hash) = (self.proxy.random(), self.way.hash);
        let ask = Ask { balance, random, hash, tried: &[] };
        let place = self.first(pool, &ask).ok_or(Error::NoEndpoint)?;
        let judge = self.judge(pool, 0);
        match self.attempt(&place, judge.as_deref(), false).await {
            Ok(answer) => Ok((answer, place)),
            Err(Failure::Cause(cause)) if self.route.terms.retry.attempts == 0 => {
                tell(pool, Failure::Cause(cause), &[Rc::clone(place.endpoint())]);
                Err(cause)
            }
            // In a box, because most requests need no room for this.
            Err(failure) => {
                let granted = judge.and_then(|judge| judge.granted.take());
                Box::pin(self.again(pool, place, failure, granted)).await
            }
        }
    }

    /// Waits for the end of a request that is complete with its head, before anything is taken for
    /// it: it may yet turn out to be malformed.
    async fn settle(&mut self) -> Result<(), Error> {
        let outgoing = &mut *self.outgoing;
        let end = poll_fn(|cx| outgoing.poll_end(cx).map_err(|error| Error::of_body(&error)));
        End::limit(self.end, pin!(end)).await?;
        // What was waited for is no part of the time that endpoints have.
        self.started = clock::now();
        Ok(())
    }

    /// The pool at the end of its way, with how that is balanced.
    fn pool(&self) -> Result<(&'a Rc<LocalPool>, &'a Balance), Error> {
        self.local.pool(self.way.pool).ok_or(Error::NoEndpoint)
    }

    /// Whether it has left the pool that was decided for.
    fn has_left(&self) -> bool {
        self.way.pool != self.manner.way.pool
    }

    /// Enters the pool that was decided for; or, if the request still waits for its place there
    /// when the last endpoint goes away, the one where it would go then.
    async fn enter_first(&mut self) -> Result<(&'a Rc<LocalPool>, &'a Balance), Error> {
        let first @ (pool, _) = self.pool()?;
        if let Some(admitted) = pool.admit() {
            self.admitted = admitted;
            return Ok(first);
        }
        // Who decides about an endpoint's return has its place at that one.
        let elsewhere = self.manner.elsewhere.as_deref().filter(|_| self.trial.is_none());
        let Some(Elsewhere { ways, .. }) = elsewhere else {
            return self.enter(pool).await.map(|()| first);
        };
        // In a box, because most requests need no room for this.
        Box::pin(async {
            loop {
                let (entering @ (pool, _), local) = (self.pool()?, self.local);
                tokio::select! {
                    biased;
                    onward = onward(local, pool, ways) => {
                        (self.way, self.started) = (&onward.way, clock::now());
                        self.exchange.moved(onward.choice);
                    }
                    entered = self.enter(pool) => return entered.map(|()| entering),
                }
            }
        })
        .await
    }

    /// Waits for the request's place in a pool that takes only so many, in that of any other.
    async fn enter(&mut self, pool: &LocalPool) -> Result<(), Error> {
        if let Some(admitted) = pool.admit() {
            self.admitted = admitted;
            return Ok(());
        }
        // Until then it keeps the place that it has: it may have to stay there.
        let turn = async { pool.admit_later().await.map_err(|_| Error::PoolOverloaded) };
        // In a box, because most requests need no room for this.
        self.admitted = End::limit(self.end, Box::pin(turn).as_mut()).await?;
        // What was waited for is no part of the time that endpoints have.
        self.started = clock::now();
        Ok(())
    }

    /// The place of the first attempt: on trial, or any.
    fn first(&mut self, pool: &LocalPool, ask: &Ask<'_>) -> Option<Place> {
        self.trial.take().map(|place| *place).or_else(|| pool.take(ask))
    }

    /// The attempts after the first, which has failed at this place.
    async fn again(
        &mut self,
        chosen: &'a Rc<LocalPool>,
        place: Place,
        mut failure: Failure,
        mut granted: Option<Retrying>,
    ) -> Result<(Answer, Place), Error> {
        let mut tried = vec![Rc::clone(place.endpoint())];
        let mut current = chosen;
        // Where not even a connection could be made: when all were tried, the others come first.
        let mut unreached = Vec::new();
        // What has failed is not in flight while the next attempt waits.
        drop(place);
        for retry in 1..=self.route.terms.retry.attempts {
            tell(current, failure, &tried);
            if is_unreached(failure) {
                unreached.extend(tried.last().map(Rc::clone));
            }
            let unseen = matches!(failure, Failure::Cause(_)) && self.outgoing.is_unsent();
            if let Failure::Cause(cause) = failure {
                granted = self.permit(cause, unseen, chosen)?;
            } else if !self.outgoing.rewind() {
                break;
            }
            let _retrying = granted.take();
            // What nobody has seen says nothing against the pool, so it stays there as long as
            // there is an endpoint that was not tried.
            if !self.has_left() && (!unseen || !chosen.has_untried(&tried)) {
                self.leave().await;
            }
            let (pool, balance) = self.pool()?;
            current = pool;
            if !unseen || !pool.has_untried(&tried) {
                self.pause(retry).await?;
            }
            let (random, hash) = (self.proxy.random(), self.way.hash);
            let ask = |tried| Ask { balance, random, hash, tried };
            let place = if pool.has_untried(&tried) {
                pool.take(&ask(&tried))
            } else {
                let ejected = pool.take_ejected(random, &tried);
                ejected.or_else(|| pool.take(&ask(&unreached)))
            };
            let Some(place) = place else { break };
            let judge = self.judge(chosen, retry);
            match self.attempt(&place, judge.as_deref(), true).await {
                Ok(answer) => return Ok((answer, place)),
                Err(next) => {
                    failure = next;
                    granted = judge.and_then(|judge| judge.granted.take());
                    tried.push(Rc::clone(place.endpoint()));
                }
            }
        }
        tell(current, failure, &tried);
        match failure {
            Failure::Cause(cause) => Err(cause),
            // The endpoints went away in between.
            Failure::Unwanted(_) => Err(Error::NoEndpoint),
        }
    }

    /// The leave to try again after a failure; the failure itself if there is none.
    fn permit(
        &mut self,
        cause: Error,
        unseen: bool,
        pool: &Rc<LocalPool>,
    ) -> Result<Option<Retrying>, Error> {
        let retry = &self.route.terms.retry;
        let allowed = cause.may_succeed_elsewhere()
            && (unseen
                || (self.manner.upgrade.is_none() && retry.retries(cause, &self.manner.method)));
        if !allowed || !self.outgoing.rewind() {
            return Err(cause);
        }
        if unseen {
            // It adds nothing to what the pool has to do.
            return Ok(None);
        }
        let granted = RefCell::default();
        let Manner { method, call, .. } = self.manner;
        let judge = Judge { retry, method, call: *call, own: 0, pool, granted };
        if judge.grant() { Ok(judge.granted.take()) } else { Err(cause) }
    }

    /// Enters the pool that a retry may leave for. Where there is none, or none that takes the
    /// request, it stays.
    async fn leave(&mut self) {
        let elsewhere = self.manner.elsewhere.as_deref().filter(|elsewhere| elsewhere.retries);
        let Some(elsewhere) = elsewhere else { return };
        let others = elsewhere.ways.iter().filter(|onward| onward.way.pool != self.way.pool);
        let Some(onward) = best(self.local, others) else { return };
        if let Some((pool, _)) = self.local.pool(onward.way.pool)
            && self.enter(pool).await.is_ok()
        {
            self.way = &onward.way;
        }
    }

    /// Waits before a retry, but not longer than to the end of the exchange.
    async fn pause(&mut self, retry: u8) -> Result<(), Error> {
        let pause = self.route.terms.retry.pause(retry, self.proxy.random());
        let waiting = async {
            tokio::time::sleep(pause).await;
            Ok::<_, Error>(())
        };
        End::limit(self.end, pin!(waiting)).await
    }

    /// Who judges the response to the attempt after so many retries; nobody if it is the last.
    fn judge(&self, pool: &'a Rc<LocalPool>, retries: u8) -> Option<Box<Judge<'a>>> {
        let retry: &'a Retry = &self.route.terms.retry;
        let more =
            retries < retry.attempts && retry.looks_at_responses && self.manner.upgrade.is_none();
        let Manner { method, call, .. } = self.manner;
        let granted = RefCell::default();
        // In a box, because most routes need no room for this.
        let own = i64::from(retries > 0);
        more.then(|| Box::new(Judge { retry, method, call: *call, own, pool, granted }))
    }

    async fn attempt(
        &mut self,
        place: &Place,
        judge: Option<&Judge<'_>>,
        retry: bool,
    ) -> Result<Answer, Failure> {
        let manner = self.manner;
        let means = Means {
            method: &manner.method,
            upgrade: manner.upgrade.as_deref(),
            progress: manner.progress.as_deref(),
            informational: manner.informational.as_ref(),
            connect: self.route.terms.timeouts.connect,
            response: &manner.deadlines,
            retry,
            repeat: match self.route.terms.retry.may_repeat(&manner.method) {
                false => Repeat::Never,
                true if manner.whole => Repeat::Always,
                true => Repeat::Early,
            },
            call: manner.call,
            form: manner.form,
            judge,
            started: self.started,
        };
        attempt(place, self.outgoing, self.end, &means).await
    }
}

/// Tells a pool if no endpoint of it could be connected to: there may be others that nobody has
/// looked for yet.
fn tell(pool: &LocalPool, failure: Failure, tried: &[Rc<LocalEndpoint>]) {
    if is_unreached(failure) && !pool.has_untried(tried) {
        pool.distressed();
    }
}

/// Whether no connection could be made.
fn is_unreached(failure: Failure) -> bool {
    matches!(failure, Failure::Cause(Error::ConnectFailed | Error::ConnectTimedOut))
}
