//! What was seen on the wire when no token came, with secrets and tokens never in it.

use tieline_core::{Evidence, Reason};
use tieline_entra::TokenError;

use super::{RefusedCredential, token_error_code};

/// What a failed request showed.
pub(super) fn of(error: &TokenError) -> Evidence {
    match error {
        TokenError::Refused(refusal) => Evidence {
            host: None,
            error: Some(refusal.error.clone()),
            suberror: refusal.suberror.clone(),
            code: refusal
                .error_codes
                .first()
                .map(|code| format!("AADSTS{code}")),
            message: Some(refusal.description.clone()),
            status: Some(refusal.status),
            trace_id: refusal.trace_id.clone(),
            correlation_id: refusal.correlation_id.clone(),
            timestamp: refusal.timestamp.clone(),
        },
        TokenError::Transport(fault) => Evidence {
            message: Some(fault.detail.clone()),
            ..Evidence::default()
        },
        TokenError::Unintelligible { status, reason } => Evidence {
            status: Some(*status),
            message: Some(reason.clone()),
            ..Evidence::default()
        },
        TokenError::Unsigned => Evidence {
            message: Some(error.to_string()),
            ..Evidence::default()
        },
    }
}

/// What was said of each of several credentials; the ids are those of the last request.
pub(super) fn of_all(refused: &[RefusedCredential]) -> Evidence {
    if let [only] = refused {
        return of(&only.error);
    }
    let said: Vec<String> = refused
        .iter()
        .map(|one| format!("{}: {}", one.slot, detail(of(&one.error))))
        .collect();
    let mut codes: Vec<String> = refused
        .iter()
        .filter_map(|one| of(&one.error).code)
        .collect();
    codes.dedup();
    let last = refused.last().map(|one| of(&one.error));
    Evidence {
        message: Some(said.join(" | ")),
        code: (!codes.is_empty()).then(|| codes.join(", ")),
        ..last.unwrap_or_default()
    }
}

/// A code and what was said, the one not twice.
pub(super) fn detail(evidence: Evidence) -> String {
    match (evidence.code, evidence.message) {
        (Some(code), Some(message)) if !message.contains(&code) => format!("{code}: {message}"),
        (_, Some(message)) => message,
        (Some(code), None) => code,
        (None, None) => String::new(),
    }
}

impl RefusedCredential {
    /// Why, as it is kept with the credential.
    pub(crate) fn reason(&self) -> Reason {
        Reason::new(token_error_code(&self.error), detail(of(&self.error)))
    }
}
