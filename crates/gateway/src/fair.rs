//! Phase three: a call waits for its turn at the account, and Dynamics' own *later* is waited out
//! where the consumer wants that and the call can be sent again.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, Response};
use http_body_util::{BodyExt, Limited};
use tieline_app::{Admitted, CallerPass, Class, Line, Refused, Terms, Told, Who, Wish};

use crate::answer::AnswerBody;
use crate::forward::{Call, forward};
use crate::marks::Marks;
use crate::worker::Worker;

/// `interactive` or `bulk`.
pub(crate) const PRIORITY: HeaderName = HeaderName::from_static("tieline-priority");
/// How long the call has in all: a number with a unit.
pub(crate) const DEADLINE: HeaderName = HeaderName::from_static("tieline-deadline");

/// The longest deadline; a call that may take longer needs none.
const DEADLINE_MAX: Duration = Duration::from_secs(3_600);
/// A refusal's body names the limit in a few hundred bytes.
const REFUSAL_MAX: usize = 16 * 1024;
const REFUSAL_PATIENCE: Duration = Duration::from_secs(2);
/// A refusal without a time is tried again after so long at the earliest.
const UNTOLD: Duration = Duration::from_secs(2);

/// What the call asks for; none of it goes on to Dynamics.
pub(crate) fn wish(headers: &HeaderMap, marks: Marks) -> Result<Wish, Refused> {
    let mut wish = Wish::default();
    if !marks.has(Marks::OURS) {
        return Ok(wish);
    }
    if let Some(value) = headers.get(&PRIORITY) {
        let class = value.to_str().ok().and_then(Class::named);
        wish.class = Some(class.ok_or_else(|| {
            let text = "The header Tieline-Priority says neither 'interactive' nor 'bulk'.";
            Refused::new(Who::Consumer, 400, "priority-unknown", text)
        })?);
    }
    if let Some(value) = headers.get(&DEADLINE) {
        let deadline = value.to_str().ok().and_then(deadline);
        wish.deadline = Some(deadline.ok_or_else(|| {
            let text = "The header Tieline-Deadline says how long the call may take: a number \
                        with a unit, such as '500ms', '2.5s' or '1m'; more than nothing, and no \
                        more than an hour.";
            Refused::new(Who::Consumer, 400, "deadline-malformed", text)
        })?);
    }
    Ok(wish)
}

/// A number with `ms`, `s` or `m`; without a unit it is seconds, as in `Retry-After`.
fn deadline(text: &str) -> Option<Duration> {
    let text = text.trim();
    let units = [("ms", 0.001), ("s", 1.0), ("m", 60.0), ("", 1.0)];
    let (number, unit) = units
        .into_iter()
        .find_map(|(unit, seconds)| Some((text.strip_suffix(unit)?, seconds)))?;
    let number = number.trim_end();
    // Neither signs nor exponents: whoever sends them means something else.
    let plain = |c: char| c.is_ascii_digit() || c == '.';
    if number.is_empty() || !number.chars().all(plain) {
        return None;
    }
    let time = Duration::try_from_secs_f64(number.parse::<f64>().ok()? * unit).ok()?;
    (!time.is_zero() && time <= DEADLINE_MAX).then_some(time)
}

/// Makes the call when its turn has come; again when Dynamics wanted it later.
pub(crate) async fn call(
    worker: &Worker,
    caller: &Arc<CallerPass>,
    line: &Arc<Line>,
    terms: &Terms,
    mut call: Call,
) -> Result<Response<Box<AnswerBody>>, Refused> {
    let app = &worker.inner.app;
    let admitted = app.call_admit(caller, line, terms).await?;
    let answer = {
        let forwarded = pin!(forward(worker, line, &mut call, admitted.at));
        in_time(terms, line, forwarded).await?
    };
    let told = Told::read(answer.status().as_u16(), answer.headers(), || app.now());
    if !told.is_refusal() {
        admitted.answered(&told);
        return Ok(answer);
    }
    let later = Later {
        admitted,
        told,
        answer,
    };
    Box::pin(wait_out(worker, caller, line, terms, call, later)).await
}

/// An answer that wants the call later.
struct Later {
    admitted: Admitted,
    told: Told,
    answer: Response<Box<AnswerBody>>,
}

/// Waits until Dynamics wants the call, for as long as the caller has time.
async fn wait_out(
    worker: &Worker,
    caller: &Arc<CallerPass>,
    line: &Arc<Line>,
    terms: &Terms,
    mut call: Call,
    later: Later,
) -> Result<Response<Box<AnswerBody>>, Refused> {
    let app = &worker.inner.app;
    let Later {
        mut admitted,
        mut told,
        mut answer,
    } = later;
    loop {
        let pause = told.pause().unwrap_or(UNTOLD);
        if !call.is_kept() || !terms.outlasts(pause) {
            admitted.answered(&told);
            return Ok(answer);
        }
        let body = Limited::new(answer.into_body(), REFUSAL_MAX).collect();
        if let Ok(Ok(body)) = tokio::time::timeout(REFUSAL_PATIENCE, body).await {
            told = told.with_body(&body.to_bytes());
        }
        admitted.answered(&told);
        metrics::counter!("tieline_fair_waited_out_total").increment(1);
        admitted = Box::pin(app.call_admit_again(caller, line, terms)).await?;
        let mut forwarded = Box::pin(forward(worker, line, &mut call, admitted.at));
        answer = in_time(terms, line, forwarded.as_mut()).await?;
        drop(forwarded);
        told = Told::read(answer.status().as_u16(), answer.headers(), || app.now());
        if !told.is_refusal() {
            admitted.answered(&told);
            return Ok(answer);
        }
    }
}

/// Reads what comes before the call's turn, such as a body that is kept, until the deadline.
///
/// What is awaited here and below comes pinned: a future that is handed on by value is copied each
/// time, and those of a call are a kilobyte long.
pub(crate) async fn before_deadline<T>(
    terms: &Terms,
    read: Pin<&mut impl Future<Output = Result<T, Refused>>>,
) -> Result<T, Refused> {
    let Some(deadline) = terms.deadline else {
        return read.await;
    };
    let timed = tokio::time::timeout_at(deadline, read).await;
    timed.unwrap_or_else(|_| {
        let text = "The request's body was not here before the call's deadline.";
        Err(Refused::new(Who::Consumer, 408, "body-late", text))
    })
}

/// Until the deadline, if there is one.
async fn in_time<T>(
    terms: &Terms,
    line: &Line,
    answer: Pin<&mut impl Future<Output = Result<T, Refused>>>,
) -> Result<T, Refused> {
    let Some(deadline) = terms.deadline else {
        return answer.await;
    };
    let timed = tokio::time::timeout_at(deadline, answer).await;
    timed.unwrap_or_else(|_| {
        let text = format!(
            "{} did not begin its answer before the call's deadline. Whether a write was carried \
             out is not known.",
            line.authority
        );
        Err(Refused::new(Who::Dynamics, 504, "deadline-exceeded", text))
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_deadline_is_a_number_with_a_unit() {
        let ms = |text| deadline(text).map(|time| time.as_millis());
        for (text, expected) in [
            ("500ms", 500),
            ("2s", 2_000),
            ("2.5s", 2_500),
            ("1m", 60_000),
            ("60m", 3_600_000),
            ("3", 3_000),
            (" 0.25 s ", 250),
        ] {
            assert_eq!(ms(text), Some(expected), "{text}");
        }
        for wrong in [
            "",
            "s",
            "0",
            "0ms",
            "-1s",
            "+1s",
            "1e3s",
            "NaN",
            "inf",
            "61m",
            "1h",
            "1 2s",
            "1..2s",
            "2026-01-01T00:00:00Z",
            "１s",
            ".",
        ] {
            assert_eq!(ms(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn wishes_are_read() {
        let mut headers = HeaderMap::new();
        headers.insert(PRIORITY, HeaderValue::from_static(" Bulk"));
        headers.insert(DEADLINE, HeaderValue::from_static("2s"));
        let wish = wish(&headers, Marks::of(&headers)).expect("good");
        assert_eq!(wish.class, Some(Class::Bulk));
        assert_eq!(wish.deadline, Some(Duration::from_secs(2)));
    }

    #[test]
    fn what_cannot_be_understood_is_said() {
        for (name, value, code) in [
            (PRIORITY, "urgent", "priority-unknown"),
            (DEADLINE, "soon", "deadline-malformed"),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(name, HeaderValue::from_static(value));
            let refused = wish(&headers, Marks::of(&headers)).expect_err(value);
            assert_eq!((refused.status, refused.code), (400, code));
        }
    }
}
