internal import Pipeline

// MARK: - Takes

extension CacheFact {
  static let takes: [CacheFact] = [
    CacheFact("a take is all or nothing, and says which counter is exhausted") { subject in
      let (a, b, c) = (subject.key("a"), subject.key("b"), subject.key("c"))
      try subject.expect(
        try await subject.take((a, 3, 10), (b, 5, 5), (c, 1, 2)), CacheTaken(exhausted: nil, values: [3, 5, 1]), "fits")
      try subject.expect(
        try await subject.take((a, 1, 10), (b, 1, 5), (c, 9, 2)), CacheTaken(exhausted: 1, values: [3, 5, 1]),
        "the second is full")
      try subject.expect(
        try await subject.take((a, 7, 10), (c, 1, 2)), CacheTaken(exhausted: nil, values: [10, 2]),
        "to the very limit")
      try subject.expect(
        try await subject.take((a, 1, 10)), CacheTaken(exhausted: 0, values: [10]), "one more is too many")
      try subject.expect(try await subject.get(b), "5", "nothing was taken of the others")
      try subject.expect(try await subject.take((c, 1, 1)), CacheTaken(exhausted: 0, values: [2]), "a lowered limit")
      try subject.expect(
        try await subject.take((subject.key("none"), 1, 0)), CacheTaken(exhausted: 0, values: [0]), "a limit of 0")
      try subject.expect(try await subject.cache.take([], on: nil), CacheTaken(exhausted: nil, values: []), "of none")
    },
    CacheFact("a cost of 0 looks and changes nothing, not even above the limit") { subject in
      let key = subject.key("look")
      try subject.expect(try await subject.take((key, 0, 5)), CacheTaken(exhausted: nil, values: [0]), "none")
      try subject.expect(try await subject.get(key), nil, "nothing was made")
      try subject.expect(try await subject.add(7, key), 7, "above")
      try subject.expect(try await subject.take((key, 0, 5)), CacheTaken(exhausted: nil, values: [7]), "above")
    },
    CacheFact("a negative cost gives back, never below 0, and is never refused") { subject in
      let key = subject.key("back")
      try subject.expect(try await subject.take((key, -5, 5)), CacheTaken(exhausted: nil, values: [0]), "of nothing")
      try subject.expect(try await subject.get(key), nil, "nothing was made")
      _ = try await subject.take((key, 4, 5))
      try subject.expect(try await subject.take((key, -1, 0)), CacheTaken(exhausted: nil, values: [3]), "some")
      try subject.expect(try await subject.take((key, -9, 5)), CacheTaken(exhausted: nil, values: [0]), "too much")
      try subject.expect(try await subject.take((key, .min, 5)), CacheTaken(exhausted: nil, values: [0]), "all")
      try subject.expect(try await subject.take((key, 5, 5)), CacheTaken(exhausted: nil, values: [5]), "again")
      let low = subject.key("low")
      _ = try await subject.add(-3, low)
      try subject.expect(try await subject.take((low, -1, 5)), CacheTaken(exhausted: nil, values: [-3]), "below 0")
    },
    CacheFact("a counter that stands twice in a take takes both") { subject in
      let (a, b) = (subject.key("a"), subject.key("b"))
      try subject.expect(
        try await subject.take((a, 2, 5), (b, 1, 5), (a, 3, 5)), CacheTaken(exhausted: nil, values: [5, 1, 5]), "both")
      try subject.expect(
        try await subject.take((b, 2, 5), (b, 3, 5)), CacheTaken(exhausted: 1, values: [1, 1]), "one too many")
      try subject.expect(
        try await subject.take((a, -5, 5), (a, 2, 5)), CacheTaken(exhausted: nil, values: [2, 2]), "back and again")
    },
    CacheFact("takes are exact up to 2^53 - 1, which is what a larger limit means") { subject in
      let most = 1 << 53 - 1
      let key = subject.key("large")
      try subject.expect(
        try await subject.take((key, most - 1, .max)), CacheTaken(exhausted: nil, values: [most - 1]), "large")
      try subject.expect(
        try await subject.take((key, 2, .max)), CacheTaken(exhausted: 0, values: [most - 1]), "one too many")
      try subject.expect(try await subject.take((key, 1, most)), CacheTaken(exhausted: nil, values: [most]), "full")
      try subject.expect(
        try await subject.take((key, .max, .max)), CacheTaken(exhausted: 0, values: [most]), "much too much")
      try subject.expect(
        try await subject.take((subject.key("other"), most + 1, .max)), CacheTaken(exhausted: 0, values: [0]), "above")
    },
  ]

  // MARK: - Lifetimes

  /// Makes a key that expires soon and changes it before it has; a cache whose time is real may have been too slow, and then
  /// it is done again.
  ///
  /// - Parameter change: false: the key was gone.
  private static func changed(
    _ subject: CacheSubject, _ name: String, make: (CacheKey, CacheLifetime) async throws -> Void,
    change: (CacheKey) async throws -> Bool
  ) async throws -> CacheKey {
    for attempt in 0..<50 {
      let key = subject.key("\(name) \(attempt)")
      try await make(key, .fromCreation(.milliseconds(400)))
      if try await change(key) { return key }
    }
    throw CacheFailure(description: "\(name): each of 50 keys was gone before it was changed")
  }

  /// Three keys, made and changed by each of the operations.
  private static func changed(_ subject: CacheSubject, to second: CacheLifetime) async throws -> [CacheKey] {
    [
      try await changed(subject, "counter") {
        _ = try await subject.add(1, $0, $1)
      } change: {
        try await subject.add(1, $0, second) == 2
      },
      try await changed(subject, "value") {
        _ = try await subject.swap($0, nil, "a", $1)
      } change: {
        try await subject.swap($0, "a", "b", second)
      },
      try await changed(subject, "taken") {
        _ = try await subject.take(($0, 1, 9), lifetime: $1)
      } change: {
        try await subject.take(($0, 1, 9), lifetime: second).values == [2]
      },
    ]
  }

  static let lifetimes: [CacheFact] = [
    CacheFact("what lasts from its creation is not prolonged by a change") { subject in
      let keys = try await changed(subject, to: .fromCreation(.seconds(3600)))
      for key in keys {
        try await subject.eventually("\(key.name) expires") { try await subject.get(key) == nil }
        try subject.expect(try await subject.add(1, key), 1, "\(key.name) begins anew")
      }
    },
    CacheFact("what lasts from its change is prolonged by each change, and by nothing else") { subject in
      let keys = try await changed(subject, to: .fromChange(.seconds(3600)))
      let refused = try await changed(subject, "refused") {
        _ = try await subject.take(($0, 9, 9), lifetime: $1)
      } change: { key in
        _ = try await subject.get(key)
        return try await subject.take((key, 1, 9), (key, 0, 9), lifetime: .fromChange(.seconds(3600))).exhausted == 0
      }
      try await subject.pass(.milliseconds(800))
      for key in keys { try subject.expect(try await subject.get(key) != nil, true, "\(key.name) is there") }
      try await subject.eventually("what was only looked at expires") { try await subject.get(refused) == nil }
    },
    CacheFact("what is made to last for ever expires no more") { subject in
      let keys = try await changed(subject, to: .forever)
      try await subject.pass(.milliseconds(800))
      for key in keys { try subject.expect(try await subject.get(key) != nil, true, "\(key.name) is there") }
      try subject.expect(try await subject.add(1, keys[0], .fromCreation(.milliseconds(1))), 3, "it is there already")
      try await subject.pass(.milliseconds(100))
      try subject.expect(try await subject.get(keys[0]), "3", "its creation is past")
    },
    CacheFact("a guard that has expired guards nothing") { subject in
      let guardKey = subject.key("guard")
      _ = try await subject.swap(guardKey, nil, "a", .fromCreation(.milliseconds(50)))
      try await subject.eventually("the guard expires") { try await subject.get(guardKey) == nil }
      try subject.expect(try await subject.add(1, subject.key("x"), requiring: guardKey), nil, "guarded")
    },
    CacheFact("a lifetime is at least a millisecond and may be a century") { subject in
      let (short, long) = (subject.key("short"), subject.key("long"))
      _ = try await subject.add(1, short, .fromCreation(.zero))
      try await subject.eventually("it expires") { try await subject.get(short) == nil }
      _ = try await subject.add(1, long, .fromChange(.seconds(Int64.max / 2)))
      try subject.expect(try await subject.get(long), "1", "it lasts")
    },
  ]

  // MARK: - Contention

  static let contention: [CacheFact] = [
    CacheFact("of many at once each add counts once") { subject in
      let key = subject.key("count")
      let sums = try await many(400) { _ in try await subject.add(1, key) ?? -1 }
      try subject.expect(sums.sorted(), Array(1...400), "every sum once")
    },
    CacheFact("of many at once as many take as fit, with several counters, and what is given back is there again") {
      subject in
      let (a, b) = (subject.key("a"), subject.key("b"))
      let taken = try await many(300) { number in
        try await subject.take((a, 1, 100), (b, number % 2 + 1, 1000)).exhausted == nil ? number % 2 + 1 : 0
      }
      try subject.expect(taken.count { $0 > 0 }, 100, "as many as fit")
      try subject.expect(try await subject.get(a), "100", "the first")
      try subject.expect(try await subject.get(b), "\(taken.reduce(0, +))", "the second, by those who could take both")
      let mixed = try await many(300) { number in
        if number % 3 == 0 {
          _ = try await subject.take((a, -1, 100))
          return -1
        }
        return try await subject.take((a, 1, 100)).exhausted == nil ? 1 : 0
      }
      try subject.expect(try await subject.get(a), "\(100 + mixed.reduce(0, +))", "given and taken")
    },
    CacheFact("of many at once one sets a value, and a loop of compare-and-set loses nothing") { subject in
      let lock = subject.key("lock")
      let won = try await many(100) { number in try await subject.swap(lock, nil, "\(number)") ? 1 : 0 }
      try subject.expect(won.reduce(0, +), 1, "one")
      let sum = subject.key("sum")
      _ = try await many(40) { _ in
        while true {
          let old = try await subject.get(sum)
          if try await subject.swap(sum, old, "\((old.flatMap { Int($0) } ?? 0) + 1)") { return 0 }
        }
      }
      try subject.expect(try await subject.get(sum), "40", "each once")
    },
    CacheFact("a guard that goes away meanwhile lets in exactly those who came before it went") { subject in
      let (known, count) = (subject.key("known"), subject.key("count"))
      _ = try await subject.swap(known, nil, "1")
      let added = try await many(200) { number in
        if number == 100 { return try await subject.swap(known, "1", nil) ? 0 : -1000 }
        return try await subject.add(1, count, requiring: known) == nil ? 0 : 1
      }
      let sum = added.reduce(0, +)
      try subject.expect(try await subject.get(count), sum == 0 ? nil : "\(sum)", "as many as were let in")
    },
  ]

  private static func many(_ count: Int, _ body: @escaping @Sendable (Int) async throws -> Int) async throws -> [Int] {
    try await withThrowingTaskGroup(of: Int.self) { group in
      for number in 0..<count { group.addTask { try await body(number) } }
      var results: [Int] = []
      for try await result in group { results.append(result) }
      return results
    }
  }
}
