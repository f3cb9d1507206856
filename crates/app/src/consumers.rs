//! Use cases of consumers and their API keys.

use secrecy::SecretString;
use tieline_core::{AccountName, Actor, ApiKeyId, ApiKeyInfo, Consumer, ConsumerGrant, ConsumerId};
use tieline_store::StoreError;
use tieline_vault::api_key;

use crate::app::App;
use crate::error::AppError;

impl App {
    /// The consumers, by name.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn consumer_list(&self) -> Result<Vec<Consumer>, AppError> {
        self.flush_uses_now().await?;
        Ok(self.store().consumers(self.workspace()).await?)
    }

    /// A consumer by id or name.
    ///
    /// # Errors
    /// When there is none.
    pub async fn consumer_find(&self, reference: &str) -> Result<Consumer, AppError> {
        let key = AccountName::key_of(reference);
        let consumers = self.consumer_list().await?;
        consumers
            .into_iter()
            .find(|consumer| {
                AccountName::key_of(&consumer.name) == key
                    || consumer
                        .id
                        .to_string()
                        .eq_ignore_ascii_case(reference.trim())
            })
            .ok_or(AppError::NotFound { what: "consumer" })
    }

    /// Adds a consumer with one API key, which is returned here and never again.
    ///
    /// # Errors
    /// When the name is none or taken.
    pub async fn consumer_add(
        &self,
        by: &Actor,
        name: &str,
        grant: ConsumerGrant,
    ) -> Result<(Consumer, SecretString), AppError> {
        let name: AccountName = name.parse().map_err(|_| AppError::Refused {
            code: "consumer-name-malformed",
        })?;
        if let ConsumerGrant::Accounts { accounts } = &grant {
            for account in accounts {
                self.account(*account).await?;
            }
        }
        let now = self.now();
        let key = api_key::generate();
        let keys = [(ApiKeyId::generate(now), key.hash, key.prefix.clone())];
        let id = ConsumerId::generate(now);
        let added = self
            .store()
            .consumer_add(self.workspace(), id, name.as_str(), &grant, &keys, by, now)
            .await;
        let consumer = added.map_err(name_taken)?;
        self.consumers_changed();
        tracing::info!(consumer = %id, by = %by, "a consumer was added");
        Ok((consumer, key.key))
    }

    /// Removes a consumer; its keys stop working at once.
    ///
    /// # Errors
    /// When there is none.
    pub async fn consumer_remove(&self, by: &Actor, reference: &str) -> Result<(), AppError> {
        let consumer = self.consumer_find(reference).await?;
        self.store()
            .consumer_remove(consumer.id, by, self.now())
            .await?;
        self.consumers_changed();
        Ok(())
    }

    /// Gives a consumer another key, so that keys can be exchanged without a gap.
    ///
    /// # Errors
    /// When there is no such consumer.
    pub async fn consumer_key_add(
        &self,
        by: &Actor,
        reference: &str,
    ) -> Result<(ApiKeyInfo, SecretString), AppError> {
        let consumer = self.consumer_find(reference).await?;
        let now = self.now();
        let key = api_key::generate();
        let id = ApiKeyId::generate(now);
        self.store()
            .api_key_add(consumer.id, id, key.hash, &key.prefix, by, now)
            .await?;
        let info = ApiKeyInfo {
            id,
            prefix: key.prefix.clone(),
            created_at: now,
            revoked_at: None,
            last_used_at: None,
        };
        Ok((info, key.key))
    }

    /// Revokes a key.
    ///
    /// # Errors
    /// When the consumer has no such key.
    pub async fn consumer_key_revoke(
        &self,
        by: &Actor,
        reference: &str,
        key: ApiKeyId,
    ) -> Result<(), AppError> {
        let consumer = self.consumer_find(reference).await?;
        if !consumer.keys.iter().any(|known| known.id == key) {
            return Err(AppError::NotFound { what: "key" });
        }
        self.store()
            .api_key_revoke(consumer.id, key, by, self.now())
            .await?;
        self.consumers_changed();
        Ok(())
    }
}

fn name_taken(error: StoreError) -> AppError {
    match error {
        StoreError::NameTaken => AppError::Refused {
            code: "consumer-name-taken",
        },
        other => AppError::Store(other),
    }
}
