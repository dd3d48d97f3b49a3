import Pipeline
import PipelineTesting
import Testing

/// What one walk over a chain does: places, names, carries state over, validates.
struct PlacementTests {
  private func place<Carrier: TransportExchange, Program: ChainElement>(
    _ listener: Listener<Carrier, Program>, replacing old: Placement? = nil
  ) throws -> Service<Carrier, Program> where Program.Carrier == Carrier, Program.Needs: MetByNothing {
    try Service(listener, shards: 1, replacing: old)
  }

  @Test func elementsOfAGroupStandInsideItAndCarryItsName() throws {
    let common = Chain {
      Pass(); FewPerSecond(1).named("slow")
    }
    let service = try place(
      Listener(.tcp, on: ":1") {
        Pass(); common.named("edge"); Pass()
      } to: {
        Served()
      })
    let entries = service.placement.entries
    #expect(
      entries.map(\.qualifiedName) == [
        "pass", "chain \"edge\"", "edge/pass", "edge/few-per-second \"slow\"", "pass", "served",
      ])
    #expect(entries.map(\.level) == [0, 0, 1, 1, 0, 0])
    #expect(entries.map(\.above) == [-1, 0, 1, 2, 3, 4])
  }

  @Test func anEmptyChainHasNoPlace() throws {
    let service = try place(
      Listener(.http, on: ":1") {
      } to: {
        Route("/a", to: { Respond(200) })
      })
    #expect(service.placement.entries.map(\.label) == ["route", "respond"])
  }

  @Test func labelsAreTheTypesNamesInKebabCase() {
    #expect(FewPerSecond.label == "few-per-second")
    #expect(PasswordOverHTTP2.label == "password-over-http2")
    #expect(CORS.label == "cors")
    #expect(Shadow<Generic<Int>>.label == "generic-shadow")
  }

  @Test func aReloadKeepsTheStateOfWhatStayed() async throws {
    let old = try ChainHarness(.tcp) {
      if Bool(true) {
        Chain {
          Pass(); FewPerSecond(2)
        }
      }
    }
    #expect(await old.run() == .served())
    let new = try ChainHarness(.tcp, clock: old.clock, replacing: old.service.placement) {
      if Bool(true) {
        Chain {
          Pass(); FewPerSecond(3)
        }
      }
    }
    #expect(new.service.placement.adopted == ["few-per-second"])
    #expect(await new.run() == .served())
    #expect(await old.run() == .refused(.rateLimited))
    #expect(await new.run() == .refused(.rateLimited))
  }

  @Test func namesTellTwoOfAKindApartWhereverTheyStand() throws {
    let a = FewPerSecond(1)
    let b = FewPerSecond(2)
    let old = try place(
      Listener(.tcp, on: ":1") {
        a.named("a"); b.named("b")
      } to: {
        Served()
      })
    let new = try place(
      Listener(.tcp, on: ":1") {
        FewPerSecond(3).named("b"); Pass(); FewPerSecond(4).named("a")
      } to: {
        Served()
      },
      replacing: old.placement)
    #expect(new.placement.adopted == ["few-per-second \"b\"", "few-per-second \"a\""])
    #expect(new.placement.entries[0].component.state === b.window)
    #expect(new.placement.entries[2].component.state === a.window)
  }

  @Test func aGroupsNameTellsItsElementsApart() throws {
    let a = FewPerSecond(1)
    let old = try place(
      Listener(.tcp, on: ":1") {
        Chain { a }.named("a"); Chain { FewPerSecond(2) }.named("b")
      } to: {
        Served()
      })
    let new = try place(
      Listener(.tcp, on: ":1") {
        Chain { FewPerSecond(3) }.named("a")
      } to: {
        Served()
      }, replacing: old.placement)
    #expect(new.placement.entries[1].component.state === a.window)
    #expect(
      new.placement.problems.notes == [
        "b/few-per-second is not in the new chain, or is of another type there: its state is dropped"
      ])
  }

  @Test func twoWithoutANameAreNotGuessed() throws {
    let old = try place(
      Listener(.tcp, on: ":1") {
        FewPerSecond(1); FewPerSecond(2)
      } to: {
        Served()
      })
    let new = try place(
      Listener(.tcp, on: ":1") {
        FewPerSecond(1); FewPerSecond(2)
      } to: {
        Served()
      }, replacing: old.placement)
    #expect(new.placement.adopted.isEmpty)
    #expect(
      new.placement.problems.notes == [
        "several few-per-second have no name: their state is not carried over; give each a name"
      ])
  }

  @Test func shadowDoesNotLoseTheState() throws {
    let bucket = FewPerSecond(1)
    let old = try place(
      Listener(.tcp, on: ":1") {
        bucket.named("a")
      } to: {
        Served()
      })
    let shadowed = try place(
      Listener(.tcp, on: ":1") {
        FewPerSecond(1).named("a").shadow()
      } to: {
        Served()
      }, replacing: old.placement)
    #expect(shadowed.placement.entries[0].component.state === bucket.window)
    #expect(shadowed.placement.entries[0].label == "few-per-second-shadow")
    let back = try place(
      Listener(.tcp, on: ":1") {
        FewPerSecond(1).named("a")
      } to: {
        Served()
      }, replacing: shadowed.placement)
    #expect(back.placement.entries[0].component.state === bucket.window)
  }

  @Test func whatAnElementReadsHasToBeThere() {
    let tcp = #expect(throws: ConfigurationError.self) {
      try place(
        Listener(.tcp, on: ":1") {
          Reads(.body)
        } to: {
          Served()
        })
    }
    #expect(
      tcp?.description == "tcp: reads: a TCP connection has no message body: use it in a Listener(.http, ...)")
    let socks = #expect(throws: ConfigurationError.self) {
      try place(
        Listener(.socks5, on: ":1", name: "socks") {
          Reads(.destination); SomePassword(); Reads(.body)
        } to: {
          Served()
        })
    }
    #expect(
      socks?.description == """
        socks: some-password: reads above it uses the destination, which a SOCKS5 client names only after authentication: \
        move it below the authenticator
        socks: reads: a SOCKS5 connection has no message body: use it in a Listener(.http, ...)
        """)
    #expect(throws: Never.self) {
      try place(
        Listener(.http, on: ":1") {
          Reads(.destination); SomePassword(); Reads(.body)
        } to: {
          Served()
        })
    }
  }

  @Test func anElementMaySeeWhatStandsAboveButNotTheRouteBeside() throws {
    let error = #expect(throws: ConfigurationError.self) {
      try place(
        Listener(.http, on: ":1") {
          Pass()
        } to: {
          Route("/a") {
            Reads([]).named("a")
          } to: {
            Respond(200)
          }
          Route("/b") {
            NeedsReadsAbove()
          } to: {
            Respond(200)
          }
        })
    }
    #expect(error?.messages == ["needs-reads-above: nothing above reads"])
    #expect(throws: Never.self) {
      try place(
        Listener(.http, on: ":1") {
          Chain { Reads([]).named("a").shadow() }
        } to: {
          Route("/b") {
            NeedsReadsAbove()
          } to: {
            Respond(200)
          }
        })
    }
  }

  @Test func nothingStandsBelowADestination() {
    let error = #expect(throws: ConfigurationError.self) {
      try place(
        Listener(.tcp, on: ":1") {
        } to: {
          Served(); Served()
        })
    }
    #expect(error?.messages == ["served: nothing comes here: served above it serves every exchange"])
  }

  @MainActor @Test func anAppIsItsListenersInOrderWithTheirOptions() throws {
    struct Names: ListenerVisitor {
      var found: [String] = []
      mutating func visit<Carrier: TransportExchange, Program: ChainElement>(
        _ listener: Listener<Carrier, Program>
      ) throws where Program.Carrier == Carrier, Program.Needs: MetByNothing {
        found.append("\(listener.name) \(listener.options.idleTimeout.map { "\($0)" } ?? "-")")
      }
    }
    struct App: ProxyApp {
      var isOn = true
      var body: some Proxy {
        Listener(.tcp, on: ":1") {
        } to: {
          Served()
        }
        if isOn {
          Listener(.socks5, on: ":2", name: "first") {
          } to: {
            Served()
          }.idleTimeout(.seconds(1))
        }
        if !isOn {
          Listener(.tcp, on: ":3") {
          } to: {
            Served()
          }
        } else {
          Listener(.http, on: ":4") {
          } to: {
            Respond(200)
          }
        }
        for n in 1...2 {
          Listener(.tcp, on: ":5", name: "n\(n)") {
          } to: {
            Served()
          }
        }
        [
          Listener(.tcp, on: ":6", name: "listed") {
          } to: {
            Served()
          }.idleTimeout(nil)
        ] as [any Proxy]
      }
    }
    var names = Names()
    try App().body.accept(&names)
    #expect(
      names.found == [
        "tcp 300.0 seconds", "first 1.0 seconds", "http 300.0 seconds", "n1 300.0 seconds", "n2 300.0 seconds",
        "listed -",
      ])
  }
}

private struct PasswordOverHTTP2: Middleware {
  func handle(_ exchange: Exchange, next: Next) async throws -> Summary { try await next() }
}

private struct CORS: HTTPMiddleware {}

private struct Generic<Value: Sendable>: Middleware {
  func handle(_ exchange: Exchange, next: Next) async throws -> Summary { try await next() }
}

private struct Reads: Middleware {
  let uses: Uses
  init(_ uses: Uses) { self.uses = uses }
  func handle(_ exchange: Exchange, next: Next) async throws -> Summary { try await next() }
}

private struct NeedsReadsAbove: Middleware {
  func handle(_ exchange: Exchange, next: Next) async throws -> Summary { try await next() }
  func validate(into problems: inout Problems) {
    if problems.nearest(Reads.self) == nil { problems.refuse("nothing above reads") }
  }
}
