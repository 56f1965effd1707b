//! Changes of a group that stand once they are published.

use iocast_domain::id::{DeviceId, GroupId};

use crate::{Actor, App, AppResult, GroupDetail, NewGroup, SendAgain};

impl App {
    /// Makes a group, and answers when its first publication stands.
    ///
    /// # Errors
    /// If the device is not there, or a field breaks a rule.
    pub async fn group_create(
        &self,
        actor: &Actor,
        device: DeviceId,
        new: NewGroup,
    ) -> AppResult<GroupDetail> {
        let id = self.accounts.group_create(actor, device, new).await?;
        self.publishing.publish_now(&actor.account_id, id).await?;
        self.accounts.group_fetch(actor, id).await
    }

    /// Puts IOCs into new events, for a MISP that deleted them or lost an import halfway. Gives how
    /// many, once they are published.
    ///
    /// # Errors
    /// If the group is not there, or holds nothing of the kind.
    pub async fn group_send_again(
        &self,
        actor: &Actor,
        id: GroupId,
        what: SendAgain,
    ) -> AppResult<u64> {
        let marked = self.accounts.group_send_again(actor, id, what).await?;
        self.publishing.publish_now(&actor.account_id, id).await?;
        Ok(marked)
    }

    /// Keeps a group at one of its publications, whatever its rules say from now on; or, with none
    /// given, has it go by its rules again. Answers once that is served.
    ///
    /// # Errors
    /// If the group or the publication is not there.
    pub async fn group_freeze(
        &self,
        actor: &Actor,
        id: GroupId,
        publication: Option<i64>,
    ) -> AppResult<()> {
        if self.accounts.group_freeze(actor, id, publication).await? {
            self.publishing.publish_now(&actor.account_id, id).await?;
        }
        self.accounts.group_serve(actor, id).await
    }

    /// Lets a publication through that is held because it would lose too much.
    ///
    /// # Errors
    /// If the group is not there, or nothing of it is held.
    pub async fn group_let_through(&self, actor: &Actor, id: GroupId) -> AppResult<()> {
        self.accounts.group_let_through(actor, id).await?;
        self.publishing.publish_now(&actor.account_id, id).await
    }
}
