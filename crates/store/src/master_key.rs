//! Which master keys belong to a database: a server that was given the wrong key file must not
//! seal anything more.

use tieline_vault::{AssociatedData, KeyId, Sealed};

use crate::database::{Store, reading, writing};
use crate::error::StoreError;

/// What is sealed as a proof; it is no secret.
const PROOF: &[u8] = b"tieline";

impl Store {
    /// Refuses a ring none of whose keys ever sealed anything here, and writes down the current key
    /// when it is new.
    pub(crate) async fn prove_keys(&self) -> Result<(), StoreError> {
        let sql = "SELECT key_id, proof FROM master_key";
        let known: Vec<(String, Vec<u8>)> =
            reading!(self, pool => sqlx::query_as(sql).fetch_all(pool).await?);
        let ours: Vec<String> = self.keys.key_ids().iter().map(KeyId::to_string).collect();
        let mut proven = known.is_empty();
        for (key_id, proof) in &known {
            if ours.contains(key_id) {
                // The same id with other bytes is as wrong as another id.
                self.keys
                    .open(&place(key_id), &Sealed(proof.clone()))
                    .map_err(|source| StoreError::Sealed {
                        column: "master_key.proof",
                        source,
                    })?;
                proven = true;
            }
        }
        if !proven {
            let known: Vec<String> = known.into_iter().map(|(key_id, _)| key_id).collect();
            return Err(StoreError::WrongKeys {
                known: known.join(", "),
            });
        }
        match ours.first() {
            Some(current) if !known.iter().any(|(key_id, _)| key_id == current) => {
                self.write_proof(current).await
            }
            _ => Ok(()),
        }
    }

    async fn write_proof(&self, key_id: &str) -> Result<(), StoreError> {
        let proof = self.keys.seal(&place(key_id), PROOF).0;
        // Servers that start together write the same row.
        let sql = "INSERT INTO master_key (key_id, proof) VALUES ($1, $2) \
                   ON CONFLICT (key_id) DO NOTHING";
        writing!(self, tx => {
            sqlx::query(sql).bind(key_id).bind(proof).execute(&mut *tx).await?;
        });
        Ok(())
    }
}

fn place(key_id: &str) -> AssociatedData<'_> {
    AssociatedData {
        table: "master_key",
        column: "proof",
        row: key_id,
        version: 1,
    }
}
