internal import Pipeline
internal import Synchronization

/// One server as the client knows it: a link from each loop that has asked it something, and whether it can be reached.
final class RedisNode: Sendable {
  private struct State {
    var links: [RedisLink?] = []
    var isRetired = false
  }

  let health: NodeHealth
  private let login: Handshake
  private let options: RedisOptions
  /// Opens a new link.
  private let open: @Sendable (RedisLink) -> Void
  private let state = Mutex(State())

  init(
    _ place: RedisURL.Node, _ login: Handshake, _ options: RedisOptions, open: @escaping @Sendable (RedisLink) -> Void
  ) {
    health = NodeHealth(place)
    self.login = login
    self.options = options
    self.open = open
  }

  var place: RedisURL.Node { health.place }

  /// The link of a loop; made when it is first asked for.
  func link(_ shard: Int) -> RedisLink {
    let (link, isNew) = state.withLock { state -> (RedisLink, Bool) in
      if shard < state.links.count, let link = state.links[shard] { return (link, false) }
      while state.links.count <= shard { state.links.append(nil) }
      let link = RedisLink(health, shard, login, options)
      state.links[shard] = link
      // The cluster has dropped the node while somebody was on the way to it.
      if state.isRetired { link.retire() }
      return (link, !state.isRetired)
    }
    if isNew { open(link) }
    return link
  }

  /// Every link that there is.
  var links: [RedisLink] { state.withLock { $0.links.compactMap { $0 } } }

  /// Ends its links: the node belongs to the cluster no longer, or the client was closed.
  func retire() {
    let links = state.withLock { state in
      state.isRetired = true
      return state.links.compactMap { $0 }
    }
    for link in links { link.retire() }
  }
}

/// Whether one server can be reached, over all its links: one line in the log for all of them.
final class NodeHealth: Sendable {
  private struct State {
    /// Links that are down.
    var down = 0
    var losses = 0
    /// Links that pause before their next attempt, by loop.
    var pausing: [Int: RedisLink] = [:]
  }

  let place: RedisURL.Node
  private let state = Mutex(State())

  init(_ place: RedisURL.Node) { self.place = place }

  /// Connections that were lost or not made, since the start.
  var losses: Int { state.withLock { $0.losses } }

  /// True when it is the first link that is down.
  func linkWentDown() -> Bool {
    state.withLock { state in
      state.losses += 1
      state.down += 1
      return state.down == 1
    }
  }

  /// A working connection was lost, or a further attempt has failed.
  func linkFailed() { state.withLock { $0.losses += 1 } }

  /// True when it was the last link that was down.
  func linkCameUp() -> Bool {
    state.withLock { state in
      state.down -= 1
      return state.down == 0
    }
  }

  func pauses(_ link: RedisLink) { state.withLock { $0.pausing[link.shard] = link } }

  func pausesNoMore(_ link: RedisLink) { state.withLock { $0.pausing[link.shard] = nil } }

  /// The server has answered a command: links that pause need not go on with it.
  func serverAnswers() {
    let pausing = state.withLock { state in
      defer { state.pausing = [:] }
      return state.pausing
    }
    for link in pausing.values { link.hurry() }
  }
}
