public import Pipeline
internal import Synchronization

/// Keeps usage in memory, for as long as the process runs.
///
/// Sharded by account, one short lock a record; no allocation for an account that is known. Bounded: identities beyond
/// `maxAccounts` are counted together under ``UsageAccount/others``, so that the global totals stay right.
public final class MemoryUsageStore: UsageStore {
  private struct Accounts {
    /// Where an account's row is. Rows are changed in place; a dictionary of totals would allocate for every change.
    private var places: [UsageAccount: Int] = [:]
    private var rows: [UsageTotals] = []
    private var free: [Int] = []
    /// Over all accounts of this shard, so that the global totals need no walk over the accounts.
    private(set) var sum: UsageTotals?

    subscript(account: UsageAccount) -> UsageTotals? { places[account].map { rows[$0] } }

    var all: [UsageAccount: UsageTotals] { places.mapValues { rows[$0] } }

    /// - Parameter makeRoom: asked before a new account is made.
    /// - Returns: `nil` where there was no room, else whether an account is left that has used anything.
    mutating func add(
      _ change: UsageChange, to account: UsageAccount, at time: UnixTime, makeRoom: () -> Bool
    ) -> Bool? {
      let place: Int
      if let known = places[account] {
        place = known
      } else {
        guard makeRoom() else { return nil }
        if let reused = free.popLast() {
          place = reused
          rows[place] = UsageTotals(seen: time)
        } else {
          place = rows.count
          rows.append(UsageTotals(seen: time))
        }
        places[account] = place
      }
      rows[place].add(change, at: time)
      if sum == nil { sum = UsageTotals(seen: time) }
      sum?.add(change, at: time)
      guard change.requests < 0, rows[place].isEmpty else { return true }
      places[account] = nil
      free.append(place)
      return false
    }
  }

  private final class Shard: Sendable {
    let accounts = Mutex(Accounts())
  }

  private static let shardCount = 32

  private let shards = (0..<shardCount).map { _ in Shard() }
  private let maxAccounts: Int
  private let count = Atomic<Int>(0)

  /// - Parameter maxAccounts: identities that are told apart, 1 or more; about 200 bytes each.
  public init(maxAccounts: Int = 100_000) {
    precondition(maxAccounts >= 1, "a usage store keeps 1 or more accounts, got \(maxAccounts)")
    self.maxAccounts = maxAccounts
  }

  public func record(_ change: UsageChange, for account: UsageAccount, at time: UnixTime) {
    if !add(change, to: account, at: time) { _ = add(change, to: .others, at: time) }
  }

  public func global() -> UsageTotals? {
    var global: UsageTotals?
    for shard in shards {
      guard let sum = shard.accounts.withLock({ $0.sum }) else { continue }
      global = global.map { $0.merged(with: sum) } ?? sum
    }
    return global
  }

  public func totals(of account: UsageAccount) -> UsageTotals? {
    shard(of: account).accounts.withLock { $0[account] }
  }

  public func accounts() -> [UsageAccount: UsageTotals] {
    var all: [UsageAccount: UsageTotals] = [:]
    for shard in shards {
      all.merge(shard.accounts.withLock { $0.all }) { $0.merged(with: $1) }
    }
    return all
  }

  private func shard(of account: UsageAccount) -> Shard {
    shards[Int(bitPattern: UInt(bitPattern: account.hashValue) >> 7) % Self.shardCount]
  }

  /// False when the account is new and there is no room.
  private func add(_ change: UsageChange, to account: UsageAccount, at time: UnixTime) -> Bool {
    let isLeft = shard(of: account).accounts.withLock { accounts in
      accounts.add(change, to: account, at: time) { makeRoom(for: account) }
    }
    if isLeft == false, case .identity = account { count.subtract(1, ordering: .relaxed) }
    return isLeft != nil
  }

  /// The named accounts always have room.
  private func makeRoom(for account: UsageAccount) -> Bool {
    guard case .identity = account else { return true }
    if count.add(1, ordering: .relaxed).newValue <= maxAccounts { return true }
    count.subtract(1, ordering: .relaxed)
    return false
  }
}

extension UsageTotals {
  fileprivate func merged(with other: UsageTotals) -> UsageTotals {
    var sum = self
    sum.add(
      UsageChange(
        requests: other.requests, connections: other.connections, refused: other.refused, failed: other.failed,
        up: other.up, down: other.down), at: other.lastSeen)
    sum.firstSeen = min(firstSeen, other.firstSeen)
    return sum
  }
}
