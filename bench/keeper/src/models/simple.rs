//! Look at the expiry, and refresh what has expired: no lock. So do Windmill's OAuth resources
//! (`backend/windmill-oauth`), and most code that people write themselves.

use super::Shared;

pub(super) async fn token(shared: &Shared, account: &str) -> Result<String, String> {
    let stored = shared.load(account).await?;
    if stored.is_fresh() {
        return Ok(stored.access_token);
    }
    let new = shared.refresh(&stored.refresh_token).await?;
    let token = new.access_token.clone();
    shared.save(account, new).await;
    Ok(token)
}
