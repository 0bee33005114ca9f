//! A backup of the running broker: log and catalog of one moment.
//!
//! Invariant: no administrative change falls between the catalog's copy and the
//! log's, so that a topic, a change of its partitions and what is written there
//! are in a backup together. Copying, which takes long, begins after that and
//! holds up nobody. Called by the binary.

use std::{path::PathBuf, sync::Arc};

use millrace_store::backup::{
    Backup, BackupError, BackupFigures, BackupProgress, INCARNATIONS_SKIPPED,
};
use tokio::sync::oneshot;

use crate::Broker;

impl Broker {
    /// Makes a backup in the directory `path`, which is absent or empty. All
    /// that was acknowledged before the call is in it. Goes on if the caller
    /// leaves: [`BackupProgress::stop`] ends it.
    ///
    /// # Errors
    /// See [`BackupError`].
    pub async fn back_up(
        &self,
        path: PathBuf,
        progress: Arc<BackupProgress>,
    ) -> Result<BackupFigures, BackupError> {
        let Some(broker) = self.me.upgrade() else { return Err(BackupError::Ended) };
        let made = self.detached("backup", async move { broker.make_backup(path, progress).await });
        made.await.unwrap_or(Err(BackupError::Ended))
    }

    async fn make_backup(
        &self,
        path: PathBuf,
        progress: Arc<BackupProgress>,
    ) -> Result<BackupFigures, BackupError> {
        let Ok(_one_at_a_time) = self.backing_up.try_lock() else { return Err(BackupError::Busy) };
        let (backup, catalog) = {
            let _nothing_changes = self.admin.lock().await;
            let catalog = self.catalog.copy(INCARNATIONS_SKIPPED).await?;
            let engine = Arc::clone(&self.engine);
            let begin = move || Backup::begin(&engine, &path, progress);
            (self.blocking(begin).await?, catalog)
        };
        self.blocking(move || backup.finish(&catalog)).await
    }

    /// Runs `work` where it may block.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, BackupError> + Send + 'static,
    ) -> Result<T, BackupError> {
        let (answer, answered) = oneshot::channel();
        self.env.blocking(Box::new(move || drop(answer.send(work()))));
        answered.await.unwrap_or(Err(BackupError::Ended))
    }
}
