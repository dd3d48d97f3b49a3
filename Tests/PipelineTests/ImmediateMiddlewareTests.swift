import Pipeline
import PipelineTesting
import Testing

struct ImmediateMiddlewareTests {
  @Test func aRunOfThemSurroundsTheRestInOrder() async throws {
    let seen = Seen()
    let harness = try ChainHarness(.tcp) {
      Around("1", seen)
      Around("2", seen)
      Pass()
      Around("3", seen).named("inner")
      Chain {
        Around("4", seen); Around("5", seen)
      }
    }
    #expect(await harness.run() == .served())
    #expect(
      seen.all == [
        "before 1", "before 2", "before 3", "before 4", "before 5", "after 5", "after 4", "after 3", "after 2",
        "after 1",
      ])
  }

  @Test func thoseAboveHearOfARefusalAndThoseBelowOfNothing() async throws {
    let seen = Seen()
    let harness = try ChainHarness(.tcp) {
      Around("1", seen)
      Around("2", seen, refuses: .rateLimited)
      Around("3", seen)
    }
    #expect(await harness.run() == .refused(.rateLimited))
    #expect(seen.all == ["before 1", "before 2", "failed 1: rateLimited"])
    #expect(harness.service.counts().map(\.entered).prefix(3) == [1, 1, 0])
    #expect(harness.service.counts().map(\.refused).prefix(3) == [0, 1, 0])
  }

  /// Long runs are put together from pieces of two, three and four elements: wherever in them one refuses, and whether or not one
  /// that may wait stands between them.
  @Test(arguments: 0...10) func aRefusalAnywhereInALongRunIsHeardByAllAbove(refusing place: Int) async throws {
    for waits in [false, true] {
      let seen = Seen()
      func element(_ number: Int) -> Around { Around("\(number)", seen, refuses: number == place ? .rateLimited : nil) }
      let harness = try ChainHarness(.tcp) {
        element(1)
        element(2)
        if !waits { element(3) } else { Pass() }
        Chain {
          element(4); element(5)
        }
        if waits { Pass() }
        if waits { element(6) } else { Chain { element(6) } }
        element(7)
        element(8).named("eighth")
        element(9)
        element(10)
      }
      let isRefused = place != 0 && !(waits && place == 3)
      #expect(await harness.run() == (isRefused ? .refused(.rateLimited) : .served()))
      let all = (1...10).filter { !waits || $0 != 3 }
      let entered = all.filter { !isRefused || $0 <= place }
      let left = entered.filter { !isRefused || $0 < place }.reversed()
      #expect(
        seen.all == entered.map { "before \($0)" }
          + left.map { isRefused ? "failed \($0): rateLimited" : "after \($0)" })
    }
  }

  @Test func theErrorThatOneReturnsIsThrownOn() async throws {
    let seen = Seen()
    let harness = try ChainHarness(.tcp) {
      Around("1", seen)
      Around("2", seen, turnsErrorsInto: .forbidden)
      Refuse(.overloaded)
    }
    #expect(await harness.run() == .refused(.forbidden))
    #expect(seen.all == ["before 1", "before 2", "failed 2: overloaded", "failed 1: forbidden"])
  }

  @Test func oneInABranchIsImmediateOnlyWhereTheBranchIsTaken() async throws {
    let seen = Seen()
    for isOn in [true, false] {
      let harness = try ChainHarness(.tcp) {
        Around("1", seen)
        if isOn { Around("2", seen) }
        if isOn { Around("3", seen) } else { Pass() }
      }
      #expect(await harness.run() == .served())
    }
    #expect(
      seen.all == [
        "before 1", "before 2", "before 3", "after 3", "after 2", "after 1", "before 1", "after 1",
      ])
  }

  /// Where nothing composes it, it is a middleware like any other.
  @Test func aRetryAboveRunsItOnceAnAttempt() async throws {
    let seen = Seen()
    let harness = try ChainHarness(.tcp) {
      Twice()
      Around("1", seen).shadow()
      AnyMiddleware([Around("2", seen)])
      FailFirst()
    }
    #expect(await harness.run() == .served())
    #expect(
      seen.all == [
        "before 1", "before 2", "failed 2: overloaded", "failed 1: overloaded", "before 1", "before 2", "after 2",
        "after 1",
      ])
  }
}

/// Says what it hears.
private struct Around: ImmediateMiddleware {
  let name: String
  let seen: Seen
  let refusal: Rejection.Kind?
  let replacement: Rejection.Kind?

  init(_ name: String, _ seen: Seen, refuses: Rejection.Kind? = nil, turnsErrorsInto replacement: Rejection.Kind? = nil)
  {
    self.name = name
    self.seen = seen
    refusal = refuses
    self.replacement = replacement
  }

  func before(_ exchange: Exchange) throws -> String {
    seen.add("before \(name)")
    if let refusal { throw Rejection(refusal) }
    return name
  }

  func after(_ exchange: Exchange, _ held: String, _ summary: Summary) { seen.add("after \(held)") }

  func failed(_ exchange: Exchange, _ held: String, _ error: any Error) -> any Error {
    seen.add("failed \(held): \(Rejection(error).kind.rawValue)")
    return replacement.map { Rejection($0) } ?? error
  }
}

private struct Twice: Middleware {
  func handle(_ exchange: Exchange, next: Next) async throws -> Summary {
    do { return try await next() } catch is Rejection { exchange.attempt += 1 }
    return try await next()
  }
}

private struct FailFirst: Middleware {
  func handle(_ exchange: Exchange, next: Next) async throws -> Summary {
    if exchange.attempt == 1 { throw Rejection(.overloaded) }
    return try await next()
  }
}
