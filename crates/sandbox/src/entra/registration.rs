//! Which tenant and which application an address and a client ID mean together.

use std::sync::Arc;

use uuid::Uuid;

use crate::World;
use crate::entra::application::Application;
use crate::entra::codes::Refusal;
use crate::entra::directory::{Segment, Tenant};

/// An application at an address.
#[derive(Debug, Clone)]
pub(crate) struct Registered {
    /// None where the address leaves it open, as `common` does.
    pub(crate) tenant: Option<Arc<Tenant>>,
    pub(crate) application: Application,
}

/// The tenant and the application that are meant.
///
/// # Errors
/// When there is no such tenant or application, when the one is not for the other, or when the
/// application is disabled.
pub(crate) fn find(world: &World, segment: &str, client: &str) -> Result<Registered, Refusal> {
    let directory = &world.directory;
    let place = directory.segment(segment);
    let place = place.ok_or_else(|| unknown_tenant(segment))?;
    let name = match &place {
        Segment::Tenant(tenant) => tenant.name.as_str(),
        _ => segment,
    };
    let unknown = || unknown_application(client, name);
    let id: Option<Uuid> = client.parse().ok();
    let application = id.and_then(|id| directory.application(id));
    let application = application.ok_or_else(unknown)?;
    let tenant = match &place {
        Segment::Tenant(tenant) => {
            if application.tenant != tenant.id && !application.multi_tenant() {
                return Err(unknown());
            }
            Some(Arc::clone(tenant))
        }
        Segment::Consumers => return Err(of(9_002_346, &application)),
        Segment::Common | Segment::Organizations => {
            if !application.multi_tenant() {
                return Err(of(50_194, &application));
            }
            None
        }
    };
    if application.disabled() {
        return Err(of(7_000_112, &application));
    }
    Ok(Registered {
        tenant,
        application,
    })
}

/// A refusal that names an application.
pub(crate) fn of(code: u32, application: &Application) -> Refusal {
    let client = application.client_id().to_string();
    let values = [
        ("client", client.as_str()),
        ("application", application.name()),
    ];
    Refusal::of(code, &values)
}

pub(crate) fn unknown_tenant(segment: &str) -> Refusal {
    Refusal::of(90_002, &[("tenant", segment)])
}

pub(crate) fn unknown_application(client: &str, tenant: &str) -> Refusal {
    Refusal::of(700_016, &[("client", client), ("tenant", tenant)])
}
