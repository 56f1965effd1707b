//! Two publications of a group are compared.

use iocast_domain::{account::Module, id::GroupId};
use iocast_formats::{
    gzip,
    snapshot::{Comparison, Snapshot, SnapshotFile, compare, snapshot},
};

use crate::{Actor, AppError, AppResult, Serving, feed};

impl Serving {
    /// What differs between two publications of a group.
    ///
    /// # Errors
    /// If the group or one of them is not there (the last twenty are kept).
    pub async fn group_compare(
        &self,
        actor: &Actor,
        id: GroupId,
        earlier: i64,
        later: i64,
    ) -> AppResult<Comparison> {
        actor.may_read(Module::Automation)?;
        let (a, b) = (
            self.group_snapshot(actor, id, earlier).await?,
            self.group_snapshot(actor, id, later).await?,
        );
        Ok(compare(&a, &b))
    }

    async fn group_snapshot(&self, actor: &Actor, id: GroupId, number: i64) -> AppResult<Snapshot> {
        let read = self.context.store.read();
        let row =
            read.group_fetch(&actor.account_id, id).await?.ok_or(AppError::NotFound("group"))?;
        let device = read
            .device_fetch(&actor.account_id, row.group.device_id)
            .await?
            .ok_or(AppError::NotFound("device"))?;
        let format = device.device_type.format;
        let refs = read
            .publication_files_of(id, number)
            .await?
            .ok_or(AppError::NotFound("publication"))?;
        let mut files = Vec::new();
        for file in refs {
            let file = feed::file(id, format, file);
            let body = self.feed_body(&file.1, None, true).await?;
            files.push((file.0, file.1, body.bytes));
        }
        let read_back = move || -> std::io::Result<Snapshot> {
            let mut texts = Vec::new();
            for (path, file, bytes) in &files {
                texts.push((
                    path,
                    file.before,
                    String::from_utf8_lossy(&gzip::inflate(bytes, file.raw_len)?).into_owned(),
                ));
            }
            let each = texts.iter().map(|(path, before, text)| SnapshotFile {
                path,
                text,
                before: usize::try_from(before.unwrap_or(0)).unwrap_or(0),
            });
            Ok(snapshot(format, each))
        };
        tokio::task::spawn_blocking(read_back)
            .await
            .map_err(AppError::internal)?
            .map_err(AppError::internal)
    }
}
