//! Warninglists: brought in, switched, tried and given out again.

use std::{fs::File, io::BufReader, path::PathBuf};

use iocast_domain::{
    account::Module,
    id::WarninglistId,
    ioc::Kind,
    normalise,
    time::clip,
    warninglist::{
        Builder, ENTRIES_MAX, LISTS_MAX, LeftOut, ListFile, ListMatch, ListMode, Warninglist,
    },
};
use iocast_formats::read::warninglist::{self, OneFile};
use iocast_store::Txn;
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;

use crate::{Actor, AppError, AppResult, Intake};

/// What became of a list that was given.
#[derive(Clone, Debug)]
pub struct ListGiven {
    /// Its name, or that of its file if it is none.
    pub name: String,
    /// What became of it.
    pub outcome: ListOutcome,
}

/// What became of a list that was given.
#[derive(Clone, Debug)]
pub enum ListOutcome {
    /// It is new.
    Added(WarninglistId),
    /// It took the place of the list of the same name.
    Updated(WarninglistId),
    /// The list of this name has the same entries already.
    Unchanged(WarninglistId),
    /// It was refused, for this reason.
    Refused(String),
}

impl Intake {
    /// The account's warninglists, by name.
    ///
    /// # Errors
    /// If the actor may not read.
    pub async fn warninglists(&self, actor: &Actor) -> AppResult<Vec<Warninglist>> {
        actor.may_read(Module::Automation)?;
        Ok(self.context.store.read().warninglist_list(&actor.account_id).await?)
    }

    /// Takes the lists of a file: one list, or an archive of many. A list of a known name takes the
    /// place of the old one and keeps its mode; a new one gets `mode`.
    ///
    /// # Errors
    /// If the file can't be read at all.
    pub async fn warninglists_add(
        &self,
        actor: &Actor,
        path: PathBuf,
        mode: ListMode,
    ) -> AppResult<Vec<ListGiven>> {
        actor.may_change(Module::Automation)?;
        // One at a time: lists are long.
        let (sender, mut read) = mpsc::channel::<OneFile>(1);
        let reading = self.context.spawn_blocking(move || {
            let file = File::open(path).map_err(|error| error.to_string())?;
            warninglist::read(BufReader::new(file), &mut |list| sender.blocking_send(list).is_ok())
        });
        let mut given = Vec::new();
        while let Some(list) = read.recv().await {
            given.push(match list {
                Ok(list) => self.warninglist_take(actor, list, mode).await?,
                Err((name, why)) => ListGiven { name, outcome: ListOutcome::Refused(why) },
            });
        }
        drop(read);
        let read = reading.await.map_err(AppError::internal)?;
        let wrong = |why: String| AppError::field("body", "warninglist_invalid", why);
        match (read, given.is_empty()) {
            (Err(why), true) => Err(wrong(why)),
            (Ok(()), true) => Err(wrong(
                "The archive holds no warninglist: a JSON file with `name`, `type` and `list`."
                    .to_owned(),
            )),
            // What came before the break is taken.
            (Err(why), false) => {
                let name = "the rest of the archive".to_owned();
                given.push(ListGiven { name, outcome: ListOutcome::Refused(why) });
                Ok(given)
            }
            (Ok(()), false) => Ok(given),
        }
    }

    async fn warninglist_take(
        &self,
        actor: &Actor,
        file: ListFile,
        mode: ListMode,
    ) -> AppResult<ListGiven> {
        let name = file.name.clone();
        let read = self.context.spawn_blocking(move || Taken::of(file));
        let new = read.await.map_err(AppError::internal)?;
        let txn = self.context.store.write().await?;
        txn.account_lock(&actor.account_id).await?;
        let known = txn.warninglist_by_name(&actor.account_id, &name).await?;
        if let Some(known) = &known
            && known.sha256 == new.sha256
        {
            return Ok(ListGiven { name, outcome: ListOutcome::Unchanged(known.id) });
        }
        let id =
            known.as_ref().map_or_else(|| WarninglistId(self.context.entropy.uuid()), |l| l.id);
        let mut list = new.list(id, known.as_ref().map_or(mode, |list| list.mode));
        list.updated_at = self.context.now();
        if let Err(why) = room(&txn, actor, &list).await? {
            return Ok(ListGiven { name, outcome: ListOutcome::Refused(why) });
        }
        txn.warninglist_put(&actor.account_id, &list, new.body.as_bytes()).await?;
        let was_on = known.as_ref().is_some_and(|list| list.mode != ListMode::Off);
        if was_on || list.mode != ListMode::Off {
            txn.guards_changed(&actor.account_id).await?;
        }
        let detail = serde_json::json!({
            "name": name, "version": list.version, "entries": list.entries, "mode": list.mode,
        });
        let action = if known.is_some() { "warninglist.update" } else { "warninglist.add" };
        self.context.audit(&txn, actor, action, &id, &detail).await?;
        txn.commit().await?;
        self.context.changed.notify_one();
        let outcome =
            if known.is_some() { ListOutcome::Updated(id) } else { ListOutcome::Added(id) };
        Ok(ListGiven { name, outcome })
    }

    /// Says what a warninglist does.
    ///
    /// # Errors
    /// If it is not there, or the lists that are on would be too long.
    pub async fn warninglist_set_mode(
        &self,
        actor: &Actor,
        id: WarninglistId,
        mode: ListMode,
    ) -> AppResult<Warninglist> {
        actor.may_change(Module::Automation)?;
        let txn = self.context.store.write().await?;
        txn.account_lock(&actor.account_id).await?;
        let known = txn.warninglist_fetch(&actor.account_id, id).await?;
        let known = known.ok_or(AppError::NotFound("warninglist"))?;
        if known.mode == mode {
            return Ok(known);
        }
        let list = Warninglist { mode, ..known.clone() };
        if let Err(why) = room(&txn, actor, &list).await? {
            return Err(AppError::field("mode", "too_many", why));
        }
        txn.warninglist_set_mode(id, mode).await?;
        txn.guards_changed(&actor.account_id).await?;
        let detail =
            serde_json::json!({ "name": list.name, "before": known.mode, "after": list.mode });
        self.context.audit(&txn, actor, "warninglist.mode", &id, &detail).await?;
        txn.commit().await?;
        self.context.changed.notify_one();
        Ok(list)
    }

    /// Deletes a warninglist.
    ///
    /// # Errors
    /// If it is not there.
    pub async fn warninglist_delete(&self, actor: &Actor, id: WarninglistId) -> AppResult<()> {
        actor.may_change(Module::Automation)?;
        let txn = self.context.store.write().await?;
        txn.account_lock(&actor.account_id).await?;
        let known = txn.warninglist_fetch(&actor.account_id, id).await?;
        let known = known.ok_or(AppError::NotFound("warninglist"))?;
        txn.warninglist_delete(id).await?;
        txn.guards_changed(&actor.account_id).await?;
        let detail = serde_json::json!({ "name": known.name, "mode": known.mode });
        self.context.audit(&txn, actor, "warninglist.delete", &id, &detail).await?;
        txn.commit().await?;
        self.context.changed.notify_one();
        Ok(())
    }

    /// A warninglist as a file in the form of MISP.
    ///
    /// # Errors
    /// If it is not there.
    pub async fn warninglist_file(
        &self,
        actor: &Actor,
        id: WarninglistId,
    ) -> AppResult<(Warninglist, Vec<u8>)> {
        actor.may_read(Module::Automation)?;
        let read = self.context.store.read();
        let known = read.warninglist_fetch(&actor.account_id, id).await?;
        let known = known.ok_or(AppError::NotFound("warninglist"))?;
        let body = read.warninglist_body(id).await?;
        let list = known.clone();
        let write = self.context.spawn_blocking(move || {
            let Warninglist { name, description, version, matching, attributes, .. } = list;
            let entries = String::from_utf8_lossy(&body).lines().map(str::to_owned).collect();
            let file = ListFile { name, description, version, matching, attributes, entries };
            let mut bytes = Vec::new();
            warninglist::write(&file, &mut bytes).map(|()| bytes)
        });
        let bytes = write.await.map_err(AppError::internal)?.map_err(AppError::internal)?;
        Ok((known, bytes))
    }

    /// The warninglists that are on and that a value, in any spelling, is on; and what it is.
    ///
    /// # Errors
    /// If it is no indicator.
    pub async fn warninglists_check(
        &self,
        actor: &Actor,
        value: &str,
    ) -> AppResult<(Kind, String, Vec<ListMatch>)> {
        actor.may_read(Module::Automation)?;
        let (kind, value) = normalise::detect(value).map_err(|why| {
            AppError::field("value", "value_invalid", format!("{}: {why}", clip(value, 80)))
        })?;
        let account = self.context.store.read().account_fetch(&actor.account_id).await?;
        let guard = self.context.guard(&account.ok_or(AppError::NotFound("account"))?).await?;
        let found = guard.lists().matches(kind, &value);
        Ok((kind, value, found))
    }
}

/// A list that was read, ready to be written.
struct Taken {
    file: ListFile,
    body: String,
    entries: u64,
    left_out: LeftOut,
    sha256: String,
}

impl Taken {
    fn of(mut file: ListFile) -> Self {
        let entries = std::mem::take(&mut file.entries);
        let mut body = String::new();
        for entry in &entries {
            // A line an entry; what is left out is named below.
            body.extend(entry.trim().chars().filter(|c| !c.is_control()));
            body.push('\n');
        }
        drop(entries);
        // Tried once, so that what can't be compared is said at once.
        let nobody = ListMatch {
            id: WarninglistId(uuid::Uuid::nil()),
            name: String::new(),
            mode: ListMode::Off,
        };
        let mut builder = Builder::default();
        let mut left_out = builder.add(nobody, &file.attributes, file.matching, body.lines());
        if let (_, Some(trouble)) = builder.finish() {
            left_out.note(trouble);
        }
        let all = body.lines().count() as u64;
        let stated = format!("{:?}", (&file.name, &file.description, file.version, file.matching));
        let hash = Sha256::new()
            .chain_update(stated)
            .chain_update(format!("{:?}", file.attributes))
            .chain_update(&body)
            .finalize();
        let sha256 = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        Self { entries: all.saturating_sub(left_out.count), left_out, sha256, body, file }
    }

    fn list(&self, id: WarninglistId, mode: ListMode) -> Warninglist {
        let ListFile { name, description, version, matching, attributes, entries: _ } = &self.file;
        Warninglist {
            id,
            name: name.clone(),
            description: description.clone(),
            version: *version,
            matching: *matching,
            attributes: attributes.clone(),
            mode,
            entries: self.entries,
            left_out: self.left_out.clone(),
            sha256: self.sha256.clone(),
            updated_at: iocast_domain::time::Timestamp::default(),
        }
    }
}

/// Whether there is room for a list beside the others, or why not.
async fn room(txn: &Txn, actor: &Actor, list: &Warninglist) -> AppResult<Result<(), String>> {
    let others: Vec<Warninglist> = txn
        .warninglist_list(&actor.account_id)
        .await?
        .into_iter()
        .filter(|other| other.id != list.id)
        .collect();
    if others.len() >= LISTS_MAX {
        return Ok(Err(format!("An account has at most {LISTS_MAX} warninglists; delete one.")));
    }
    let on: u64 = others.iter().filter(|l| l.mode != ListMode::Off).map(|l| l.entries).sum();
    if list.mode != ListMode::Off && on + list.entries > ENTRIES_MAX {
        return Ok(Err(format!(
            "The warninglists that are on would have {} entries; they have at most {ENTRIES_MAX} together. Switch others off, or this one.",
            on + list.entries
        )));
    }
    Ok(Ok(()))
}
