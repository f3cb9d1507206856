//! Rows that are made.

use serde_json::json;

use crate::support::Service;

#[tokio::test]
async fn an_account_is_made_and_read_back() {
    let service = Service::start().await;
    let id = service.create("accounts", json!({"name": "Fourth Coffee", "telephone1": "425-555-0100"})).await;
    let account = service.read(&format!("accounts({id})?$select=name,telephone1,createdon")).await;
    assert_eq!(account["name"], "Fourth Coffee");
    assert_eq!(account["createdon"], "2024-05-14T10:00:00Z");
}
