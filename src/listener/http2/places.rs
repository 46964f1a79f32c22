//! Where streams are answered: places in memory that one stream leaves to the next, because to
//! allocate that much each time costs more than all else about running it.

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use std::any::Any;
use std::cell::RefCell;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// How many places a worker keeps that no stream needs.
const FREE_MAX: usize = 256;

thread_local! {
    /// Those places, as a `Vec<Place<F>>`: a worker has one service, whose futures are of one type.
    static FREE: RefCell<Box<dyn Any>> = RefCell::new(Box::new(()));
}

/// The streams of a connection, each polled when it was woken.
#[derive(Debug)]
pub(super) struct Places<F>(FuturesUnordered<Running<F>>);

/// Memory for one future.
type Place<F> = Pin<Box<Option<F>>>;

/// A future in its place, which it leaves when it ends.
#[derive(Debug)]
struct Running<F>(Option<Place<F>>);

impl<F> Default for Places<F> {
    fn default() -> Self {
        Self(FuturesUnordered::default())
    }
}

impl<F: Future<Output = ()> + 'static> Places<F> {
    /// Lets what is made run; it is polled with the others.
    pub(super) fn begin(&mut self, make: impl FnOnce() -> F) {
        let mut place = take().unwrap_or_else(|| Box::pin(None));
        place.set(Some(make()));
        self.0.push(Running(Some(place)));
    }

    /// Polls those that were woken.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) {
        while let Poll::Ready(Some(())) = self.0.poll_next_unpin(cx) {}
    }
}

impl<F: Future<Output = ()> + 'static> Future for Running<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(future) = self.0.as_mut().and_then(|place| place.as_mut().as_pin_mut()) {
            ready!(future.poll(cx));
        }
        if let Some(mut place) = self.0.take() {
            place.set(None);
            leave(place);
        }
        Poll::Ready(())
    }
}

/// A place that is free.
fn take<F: 'static>() -> Option<Place<F>> {
    FREE.with_borrow_mut(|free| free.downcast_mut::<Vec<Place<F>>>()?.pop())
}

/// Leaves a place to others.
fn leave<F: 'static>(place: Place<F>) {
    FREE.with_borrow_mut(|free| {
        if !free.is::<Vec<Place<F>>>() {
            *free = Box::new(Vec::<Place<F>>::new());
        }
        if let Some(free) = free.downcast_mut::<Vec<Place<F>>>()
            && free.len() < FREE_MAX
        {
            free.push(place);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::{FREE_MAX, Place, Places, take};
    use std::cell::Cell;
    use std::future::poll_fn;
    use std::rc::Rc;
    use std::task::{Context, Poll, Waker};

    #[test]
    fn a_stream_takes_the_place_of_one_that_has_ended_and_few_are_kept_for_none() {
        fn run<F: Future<Output = ()> + 'static>(make: impl Fn() -> F) -> (bool, usize) {
            let address = |place: &Place<F>| std::ptr::from_ref(&**place).addr();
            let mut cx = Context::from_waker(Waker::noop());
            let mut places = Places::default();
            let mut begin = |times: usize| {
                (0..times).for_each(|_| places.begin(&make));
                let first = places.0.iter().find_map(|running| running.0.as_ref().map(address));
                places.poll(&mut cx);
                assert!(places.0.is_empty());
                first
            };
            let same = begin(1) == begin(1);
            begin(2 * FREE_MAX);
            (same, std::iter::from_fn(take::<F>).count())
        }
        let large = [0_u8; 1000];
        let answer = move || async move { assert_eq!(large[0], 0) };
        assert_eq!(run(answer), (true, FREE_MAX));
    }

    #[test]
    fn only_a_stream_that_was_woken_is_polled() {
        let (polls, waker) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(None::<Waker>)));
        let mut cx = Context::from_waker(Waker::noop());
        let mut places = Places::default();
        places.begin(|| {
            let (polls, waker) = (Rc::clone(&polls), Rc::clone(&waker));
            poll_fn(move |cx| {
                polls.set(polls.get() + 1);
                waker.set(Some(cx.waker().clone()));
                Poll::Pending
            })
        });
        places.poll(&mut cx);
        places.poll(&mut cx);
        assert_eq!(polls.get(), 1);
        waker.take().unwrap().wake();
        places.poll(&mut cx);
        assert_eq!(polls.get(), 2);
    }
}
