import Pipeline
import Testing

@Suite struct InstantTests {
  @Test func arithmeticStaysInRange() {
    let t = Instant(nanoseconds: 1_000)
    #expect((t + .nanoseconds(5)).nanoseconds == 1_005)
    #expect((t + .nanoseconds(-2_000)).nanoseconds == 0)
    #expect(Instant.distantFuture + .seconds(1) == .distantFuture)
    #expect(t + .seconds(Int64.max) > t)
    #expect(t - Instant(nanoseconds: 400) == .nanoseconds(600))
    #expect(Instant(nanoseconds: 400) - t == .nanoseconds(-600))
  }

  @Test func everyKindOfRejectionHasASourceAndAVerdict() {
    for kind in Rejection.Kind.allCases {
      let rejection = Rejection(kind, detail: "why")
      #expect(rejection.source == kind.usualSource)
      #expect(rejection.description == "\(kind.rawValue): why")
    }
    #expect(Rejection(DeadlineExceeded(deadline: .distantFuture)).kind == .deadlineExceeded)
    #expect(Rejection(CancellationError()).kind == .draining)
    #expect(Rejection(StreamError.reset).kind == .internalError)
    #expect(Rejection(Rejection(.forbidden)).kind == .forbidden)
  }
}
