//! Reading what is sent to an endpoint, within a bound of size and of time.

use bytes::Bytes;
use http::StatusCode;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use std::time::Duration;

/// The most that may be sent.
pub(super) const BYTES_MAX: usize = 64 * 1024;
/// How long sending it may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// All of a body; the error is the status to answer with and why.
pub(super) async fn read<B>(body: B) -> Result<Bytes, (StatusCode, String)>
where
    B: http_body::Body<Error: Into<Box<dyn std::error::Error + Send + Sync>>>,
{
    let too_large = || {
        let message = format!("the question has more than {BYTES_MAX} bytes");
        Err((StatusCode::PAYLOAD_TOO_LARGE, message))
    };
    if body.size_hint().lower() > BYTES_MAX as u64 {
        return too_large();
    }
    let collected = std::pin::pin!(Limited::new(body, BYTES_MAX).collect());
    match tokio::time::timeout(TIMEOUT, collected).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => too_large(),
        Ok(Err(error)) => {
            Err((StatusCode::BAD_REQUEST, format!("the question broke off: {error}")))
        }
        Err(_) => {
            let message = format!("the question took longer than {TIMEOUT:?}");
            Err((StatusCode::REQUEST_TIMEOUT, message))
        }
    }
}
