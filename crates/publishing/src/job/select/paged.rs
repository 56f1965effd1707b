//! Candidates, page by page, read ahead and decoded on other threads.

use iocast_store::{IocPage, IocRow, StoreResult};
use tokio::{sync::mpsc, task::JoinHandle};

use super::Pages;
use crate::AppResult;

pub(super) fn paged<F: Future<Output = ()> + Send + 'static>(
    read: impl FnOnce(mpsc::Sender<JoinHandle<AppResult<Vec<IocRow>>>>) -> F,
) -> Pages {
    let (sender, pages) = mpsc::channel(1);
    (pages, tokio::spawn(read(sender)))
}

/// Hands on a page, to be made sense of on another thread. Gives false where nobody takes it any
/// more.
pub(super) async fn give(
    sender: &mpsc::Sender<JoinHandle<AppResult<Vec<IocRow>>>>,
    page: StoreResult<IocPage>,
) -> bool {
    sender.send(tokio::task::spawn_blocking(move || Ok(page?.rows()?))).await.is_ok()
}
