internal import Pipeline

/// The idle upstream connections of one loop, by link: last in, first out, so that those that are not needed grow old.
///
/// A connection whose upstream closes it, or speaks without being asked, leaves the pool at once. One that is idle for
/// longer than its link allows is closed by a coarse sweep. Taking one out costs no system call unless the loop has been told
/// something of the socket since it was last read.
final class UpstreamPool: TimerTarget {
  /// How late an idle connection may be closed.
  private static let sweepInterval = Duration.seconds(1)

  // Not owned: the loop owns the pool, and closes it before it ends. Unmanaged, as below, because counting references to what
  // stays costs more than the rest of a look.
  private let owner: Unmanaged<Loop>
  private var loop: Loop { owner._withUnsafeGuaranteedRef { $0 } }
  private var shelves: [ObjectIdentifier: Shelf] = [:]
  /// The shelf that was used last: nearly always the next one, too. Sound: it is among `shelves` for as long as it is here.
  private var recent: Unmanaged<Shelf>?
  private var timer = LazyTimer()

  /// The idle connections of one link.
  final class Shelf: StreamWaker {
    struct Idle {
      let side: RelaySide
      let address: SocketAddress
      let since: Instant
    }

    /// Kept, so that no other link gets its identity while the shelf stands.
    let link: UpstreamLink
    fileprivate(set) var idle: [Idle] = []
    // Not owned, as by the pool.
    private unowned(unsafe) let loop: Loop

    fileprivate init(_ link: UpstreamLink, _ loop: Loop) {
      self.link = link
      self.loop = loop
    }

    /// The youngest connection to one of `addresses` that is alive.
    fileprivate func take(_ addresses: [SocketAddress], _ address: inout SocketAddress?, on loop: Loop) -> RelaySide? {
      var index = idle.count
      while index > 0 {
        index -= 1
        guard addresses.isEmpty || addresses.contains(idle[index].address) else { continue }
        // Nearly always the youngest.
        let found = index == idle.count - 1 ? idle.removeLast() : idle.remove(at: index)
        loop.idleUpstreams.add(-1, at: 0)
        found.side.setWaker(nil)
        // Readable is the end, an error, or bytes without a request (RFC 9112, 9.8): each ends its use.
        if let socket = found.side.socket, !socket.isSilent() {
          socket.close()
          continue
        }
        address = found.address
        return found.side
      }
      return nil
    }

    /// Something happened to a connection that waits: its upstream has closed it, or says what nobody asked for.
    func wake(_ stream: any ByteStream) {
      guard let socket = stream as? Socket, !socket.isSilent(),
        let index = idle.firstIndex(where: { $0.side.stream === stream })
      else { return }
      let dead = idle.remove(at: index)
      loop.idleUpstreams.add(-1, at: 0)
      // Nobody else holds it, and the loop that calls does not.
      withExtendedLifetime(dead) {
        stream.waker = nil
        stream.close()
      }
    }
  }

  init(_ loop: Loop) { owner = .passUnretained(loop) }

  /// Connections that wait, over all links.
  var count: Int { shelves.values.reduce(0) { $0 + $1.idle.count } }

  /// The youngest connection to one of `addresses` that is alive. No address stands for a name that a far proxy resolves:
  /// where the link leads to one place only, every connection of it leads there.
  ///
  /// - Parameter address: becomes where it leads.
  func take(_ link: UpstreamLink, _ addresses: [SocketAddress], _ address: inout SocketAddress?) -> RelaySide? {
    if addresses.isEmpty, link.isChosenByClient { return nil }
    guard let shelf = standingShelf(for: link) else { return nil }
    // Sound: closing a connection here wakes nobody, so the shelf stays.
    return shelf._withUnsafeGuaranteedRef { shelf in
      owner._withUnsafeGuaranteedRef { shelf.take(addresses, &address, on: $0) }
    }
  }

  /// Keeps a connection that has answered its last request to the last byte.
  func put(_ side: __owned RelaySide, to address: SocketAddress, for link: UpstreamLink) {
    owner._withUnsafeGuaranteedRef { put(side, to: address, for: link, on: $0) }
  }

  @inline(__always)
  private func put(_ side: __owned RelaySide, to address: SocketAddress, for link: UpstreamLink, on loop: Loop) {
    let isDead = side.socket.map { !$0.isSilent() } ?? false
    guard link.maxIdle > 0, link.idleTimeout > .zero, !isDead, !loop.isStopping else { return side.stream.close() }
    shelf(for: link)._withUnsafeGuaranteedRef { shelf in
      // Where another one waits the timer is armed for that, which is due before this one.
      if shelf.idle.isEmpty { timer.ensure(by: loop.now + link.idleTimeout + Self.sweepInterval, on: loop, self) }
      if shelf.idle.count >= link.maxIdle { drop(shelf.idle.removeFirst()) }
      loop.idleUpstreams.add(1, at: 0)
      side.setWaker(shelf)
      shelf.idle.append(Shelf.Idle(side: side, address: address, since: loop.now))
    }
  }

  private func standingShelf(for link: UpstreamLink) -> Unmanaged<Shelf>? {
    if let recent, recent._withUnsafeGuaranteedRef({ $0.link === link }) { return recent }
    guard let shelf = shelves[ObjectIdentifier(link)] else { return nil }
    let found = Unmanaged.passUnretained(shelf)
    recent = found
    return found
  }

  private func shelf(for link: UpstreamLink) -> Unmanaged<Shelf> {
    if let shelf = standingShelf(for: link) { return shelf }
    let shelf = Shelf(link, loop)
    shelves[ObjectIdentifier(link)] = shelf
    let new = Unmanaged.passUnretained(shelf)
    recent = new
    return new
  }

  private func drop(_ idle: Shelf.Idle) {
    loop.idleUpstreams.add(-1, at: 0)
    idle.side.setWaker(nil)
    idle.side.stream.close()
  }

  // MARK: The sweep

  func timerFired() {
    timer.fired()
    var next = Instant.distantFuture
    for (key, shelf) in shelves {
      // The oldest stand first.
      let dead = shelf.idle.prefix { $0.since + shelf.link.idleTimeout <= loop.now }
      for idle in dead { drop(idle) }
      shelf.idle.removeFirst(dead.count)
      if let oldest = shelf.idle.first {
        next = min(next, oldest.since + shelf.link.idleTimeout)
      } else {
        shelves[key] = nil
        recent = nil
      }
    }
    if next < .distantFuture { timer.ensure(by: next + Self.sweepInterval, on: loop, self) }
  }

  /// Closes every connection: the loop ends.
  func closeAll() {
    for shelf in shelves.values { for idle in shelf.idle { drop(idle) } }
    recent = nil
    shelves.removeAll()
    timer.cancel(on: loop)
  }
}
