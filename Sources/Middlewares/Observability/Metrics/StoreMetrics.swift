public import Pipeline

// What stores and limits say of themselves. Each names the element in which it stands; those that share a name are summed up.

private enum StoreMetric {
  static let keys = Metric.gauge("proxy_limit_keys", "Keys of limits that are kept")
  static let room = Metric.gauge("proxy_limit_keys_room", "Keys of limits for which there is memory")
  static let turnedAway = Metric.counter("proxy_limit_keys_turned_away_total", "New keys that found no room")
  static let evicted = Metric.counter("proxy_limit_keys_evicted_total", "Idle keys that made room for new ones")
  static let running = Metric.gauge("proxy_concurrency_running", "Exchanges that hold a permit of a limit for all")
  static let waiting = Metric.gauge("proxy_concurrency_waiting", "Exchanges that wait for a permit of a limit for all")

  static let cacheRequests = Metric.counter(
    "proxy_response_cache_requests_total", "Requests that came to a response cache, by what it did")
  static let cacheStored = Metric.counter("proxy_response_cache_stored_total", "Responses that were stored")
  static let cacheEvicted = Metric.counter("proxy_response_cache_evicted_total", "Responses that had to make room")
  static let cacheInvalidated = Metric.counter(
    "proxy_response_cache_invalidated_total", "Responses that a request changed or a purge removed")
  static let cacheCollapsed = Metric.counter(
    "proxy_response_cache_collapsed_total", "Requests that waited for the fetch of another")
  static let cacheEntries = Metric.gauge("proxy_response_cache_entries", "Responses that are kept")
  static let cacheBytes = Metric.gauge("proxy_response_cache_bytes", "Bytes of the responses that are kept")

  static let storeKeys = Metric.gauge("proxy_store_keys", "Keys that a store in memory keeps")
  static let storeTurnedAway = Metric.counter(
    "proxy_store_turned_away_total", "Operations of a store in memory that found no room")
  static let storeExpired = Metric.counter("proxy_store_expired_total", "Keys of a store in memory that expired")
  static let accounts = Metric.gauge("proxy_quota_accounts", "Accounts whose quotas are kept in memory")

  static let ledgerLoaded = Metric.gauge(
    "proxy_ledger_loaded", "Whether what the ledger knew at the start was read", joining: .least)
  static let ledgerBatches = Metric.counter("proxy_ledger_batches_total", "Batches that were written to the ledger")
  static let ledgerRows = Metric.counter("proxy_ledger_rows_total", "Rows that were written to the ledger")
  static let ledgerFailures = Metric.counter(
    "proxy_ledger_failures_total", "Attempts to write to the ledger that failed")
  static let ledgerPending = Metric.gauge("proxy_ledger_pending_rows", "Rows that are not known to be in the ledger")
  static let ledgerWrite = Metric.gauge(
    "proxy_ledger_last_write_timestamp_seconds", "When everything counted until then was in the ledger, since 1970",
    joining: .least)
}

extension MetricPage {
  /// The element in which a store stands.
  fileprivate var ownerLabels: MetricLabels { ["middleware": owner ?? "none"] }

  fileprivate mutating func add(_ counts: LimitTableCounts) {
    add(StoreMetric.keys, counts.kept, ownerLabels)
    add(StoreMetric.room, counts.room, ownerLabels)
    add(StoreMetric.turnedAway, counts.turnedAway, ownerLabels)
    add(StoreMetric.evicted, counts.evicted, ownerLabels)
  }
}

extension MemoryLimitStore: MetricSource {
  public func collect(into page: inout MetricPage) { page.add(counts) }
}

extension Gates: MetricSource {
  func collect(into page: inout MetricPage) {
    page.add(StoreMetric.keys, count, page.ownerLabels)
    // The gates of keys are not added up: there may be a hundred thousand, and each has a lock that its exchanges need.
    let load = globalLoad
    page.add(StoreMetric.running, load.running, page.ownerLabels)
    page.add(StoreMetric.waiting, load.waiting, page.ownerLabels)
  }
}

extension AdaptiveGates: MetricSource {
  func collect(into page: inout MetricPage) { page.add(StoreMetric.keys, count, page.ownerLabels) }
}

extension BandwidthTable: MetricSource {
  func collect(into page: inout MetricPage) {
    page.add(StoreMetric.keys, count, page.ownerLabels)
    page.add(StoreMetric.turnedAway, turnedAway, page.ownerLabels)
  }
}

extension CacheStore: MetricSource {
  public func collect(into page: inout MetricPage) {
    let statistics = statistics
    let results: [(MetricLabel, Int)] = [
      ("hit", statistics.hits), ("miss", statistics.misses), ("stale", statistics.stale),
      ("revalidated", statistics.revalidated), ("updating", statistics.updating), ("bypassed", statistics.bypassed),
    ]
    for (result, count) in results {
      var labels = page.ownerLabels
      labels.add("result", result)
      page.add(StoreMetric.cacheRequests, count, labels)
    }
    page.add(StoreMetric.cacheStored, statistics.stored, page.ownerLabels)
    page.add(StoreMetric.cacheEvicted, statistics.evicted, page.ownerLabels)
    page.add(StoreMetric.cacheInvalidated, statistics.invalidated, page.ownerLabels)
    page.add(StoreMetric.cacheCollapsed, statistics.collapsed, page.ownerLabels)
    page.add(StoreMetric.cacheEntries, statistics.entries, page.ownerLabels)
    page.add(StoreMetric.cacheBytes, statistics.bytes, page.ownerLabels)
  }
}

extension MemoryCache: MetricSource {
  public func collect(into page: inout MetricPage) {
    let counts = counts
    page.add(StoreMetric.storeKeys, counts.kept, page.ownerLabels)
    page.add(StoreMetric.storeTurnedAway, counts.turnedAway, page.ownerLabels)
    page.add(StoreMetric.storeExpired, counts.expired, page.ownerLabels)
  }
}

extension QuotaStore: MetricSource {
  public func collect(into page: inout MetricPage) { page.add(StoreMetric.accounts, accountCount, page.ownerLabels) }
}

extension LedgerWriter: MetricSource {
  public func collect(into page: inout MetricPage) {
    let status = status
    page.add(StoreMetric.ledgerLoaded, status.isLoaded)
    page.add(StoreMetric.ledgerBatches, status.batches)
    page.add(StoreMetric.ledgerRows, status.rows)
    page.add(StoreMetric.ledgerFailures, status.failures)
    page.add(StoreMetric.ledgerPending, status.pending)
    if let time = status.lastWrite {
      page.add(StoreMetric.ledgerWrite, Double(time.seconds) + Double(time.nanoseconds) / 1e9)
    }
  }
}
