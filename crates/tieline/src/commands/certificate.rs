//! `tieline account certificate`: the public half, to be uploaded in the Azure portal.

use anyhow::Context;
use tieline_app::AppError;
use tieline_core::{Account, CredentialSlot};

use crate::commands::Desk;
use crate::exit::Exit;
use crate::output::{self, say};

/// Which certificate.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Wanted {
    /// One that is made now.
    New {
        /// How long it lasts.
        days: u16,
    },
    /// One that is there.
    Present(CredentialSlot),
}

impl From<CredentialSlot> for Wanted {
    fn from(slot: CredentialSlot) -> Self {
        Wanted::Present(slot)
    }
}

/// Makes a certificate where that is wanted, and prints it.
///
/// # Errors
/// When there is none, or none can be made.
pub(crate) async fn run(desk: &Desk, account: &Account, wanted: Wanted) -> anyhow::Result<Exit> {
    let (account, slot) = match wanted {
        Wanted::Present(slot) => (account.clone(), slot),
        Wanted::New { days } => {
            let made = desk
                .app
                .account_certificate_generate(&desk.by, account.id, days)
                .await;
            let (applied, slot) = made.context("failed to make a certificate")?;
            say(&format!(
                "{slot} of {} is made and saved; upload it in the Azure portal under \
                 Certificates & secrets, Certificates",
                applied.account.name
            ));
            (applied.account, slot)
        }
    };
    let certificate = account
        .credential(slot)
        .and_then(|info| info.certificate.as_deref());
    let pem = certificate.ok_or(AppError::NotFound {
        what: "certificate",
    })?;
    output::line(pem.trim_end())?;
    Ok(Exit::Done)
}
