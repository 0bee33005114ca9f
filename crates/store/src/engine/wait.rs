//! Waiting for one of two things. Called by those who append and read.

use std::{pin::Pin, task::Poll};

/// Resolves as soon as one of both does.
pub(super) async fn first_of<A, B>(mut one: Pin<&mut A>, mut other: Pin<&mut B>)
where
    A: Future<Output = ()>,
    B: Future<Output = ()> + ?Sized,
{
    std::future::poll_fn(|context| {
        if one.as_mut().poll(context).is_ready() || other.as_mut().poll(context).is_ready() {
            return Poll::Ready(());
        }
        Poll::Pending
    })
    .await;
}
