//! The wait before a pool that takes only so many requests at one time.

use super::error::Error;
use super::timeouts::End;
use crate::base::clock;
use crate::upstream::local::{Admitted, LocalPool};
use std::time::Instant;

/// Lets a request into the pool, with the moment from which its delivery is measured: when it came,
/// or when its wait was over.
pub(super) async fn admit(
    pool: &LocalPool,
    end: &mut Option<End>,
    came: Instant,
) -> Result<(Admitted, Instant), Error> {
    if let Some(admitted) = pool.admit() {
        return Ok((admitted, came));
    }
    let turn = async { pool.admit_later().await.map_err(|_| Error::PoolOverloaded) };
    // In a box, because most requests need no room for this.
    let admitted = End::limit(end, Box::pin(turn).as_mut()).await?;
    Ok((admitted, clock::now()))
}
