//! A request with an account's refresh token outside of a renewal: a test of changed settings makes
//! one. It goes under the same lease and the same mark, or the token could be sent twice.

use std::future::Future;

use secrecy::{ExposeSecret, SecretString};
use tieline_core::AccountId;
use tieline_store::{LeasePurpose, MarkAfter};

use super::Keeper;
use super::protocol::{Reuse, mark_after};
use super::renew::{elsewhere, reuse_of};
use crate::error::{Refused, Who};
use crate::obtain::{Failure, Obtained};

impl Keeper {
    /// Makes a request that sends `token`, the account's refresh token. Whoever gets new tokens by
    /// it stores them with the account, which takes the mark away.
    ///
    /// # Errors
    /// When the token may not be sent now; nothing was.
    pub(crate) async fn spend(
        &self,
        id: AccountId,
        token: &SecretString,
        request: impl Future<Output = Result<Obtained, Failure>>,
    ) -> Result<Result<Obtained, Failure>, Refused> {
        let slot = self.slot(id);
        let job = self.read(id, &slot).await?;
        let present = job.row.refresh_token.as_ref();
        if present.map(ExposeSecret::expose_secret) != Some(token.expose_secret()) {
            let detail = "The account's token was renewed meanwhile. Try again.";
            return Err(Refused::new(Who::Tieline, 503, "renewal-overtaken", detail));
        }
        if job.row.spending.is_some() && reuse_of(&job.account, &job.row) == Reuse::Punished {
            let detail = "The refresh token may have been spent.";
            return Err(Refused::new(Who::Entra, 503, "renewal-unanswered", detail));
        }
        let Some(owner) = self.lease(&job, LeasePurpose::Spend).await? else {
            return Err(elsewhere());
        };
        let result = self.extending(id, &owner, request).await;
        let spent = match &result {
            Ok(obtained) => obtained.refresh_token.is_some(),
            Err(failure) => mark_after(failure.ending()) == MarkAfter::Keep,
        };
        if !spent {
            self.release_later(id, owner);
        }
        Ok(result)
    }
}
