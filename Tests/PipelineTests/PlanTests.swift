import Pipeline
import PipelineTesting
import Testing

struct PlanTests {
  private func app() throws -> [any Serving] {
    [
      try Service(
        Listener(.socks5, on: "127.0.0.1:8001", name: "socks") {
          Pass()
          Chain {
            Limited("50/s"); Pass()
          }.named("edge")
          SomePassword().named("staff \"x\"")
        } to: {
          Served()
        }, shards: 1),
      try Service(
        Listener(.http, on: ":8080", name: "web") {
          Pass()
        } to: {
          Route("/api", methods: [.get]) {
            Limited("5/s")
          } to: {
            Respond(200)
          }
          Route("/b") {
            Pass()
          } to: {
            Route("/b/c", to: { Respond(201) })
            Respond(202)
          }
          Respond(404)
        }, shards: 1),
    ]
  }

  @Test func asText() throws {
    #expect(
      Plan(try app()).drawn(as: .text) == """
        socks: socks5 on 127.0.0.1:8001
        ├─ pass
        ├─ chain "edge"
        │  ├─ limited  rate=50/s
        │  └─ pass
        ├─ some-password "staff "x""
        └▶ served
        web: http on :8080
        ├─ pass
        ├─ route  path=/api methods=GET
        │  ├─ limited  rate=5/s
        │  └▶ respond  status=200
        ├─ route  path=/b
        │  ├─ pass
        │  ├─ route  path=/b/c
        │  │  └▶ respond  status=201
        │  └▶ respond  status=202
        └▶ respond  status=404

        """)
  }

  @Test func asMermaid() throws {
    #expect(
      Plan(try app()).drawn(as: .mermaid) == """
        flowchart TD
          l0(["socks: socks5 on 127.0.0.1:8001"])
          l0n0["pass"]
          subgraph l0n1["chain #quot;edge#quot;"]
            l0n2["limited<br>rate=50/s"]
            l0n3["pass"]
          end
          l0n4["some-password #quot;staff #quot;x#quot;#quot;"]
          l0n5(["served"])
          l0 --> l0n0
          l0n0 --> l0n2
          l0n2 --> l0n3
          l0n3 --> l0n4
          l0n4 --> l0n5
          l1(["web: http on :8080"])
          l1n0["pass"]
          l1n1{"route<br>path=/api methods=GET"}
          l1n2["limited<br>rate=5/s"]
          l1n3(["respond<br>status=200"])
          l1n4{"route<br>path=/b"}
          l1n5["pass"]
          l1n6{"route<br>path=/b/c"}
          l1n7(["respond<br>status=201"])
          l1n8(["respond<br>status=202"])
          l1n9(["respond<br>status=404"])
          l1 --> l1n0
          l1n0 --> l1n1
          l1n1 -->|match| l1n2
          l1n2 --> l1n3
          l1n1 -->|else| l1n4
          l1n4 -->|match| l1n5
          l1n5 --> l1n6
          l1n6 -->|match| l1n7
          l1n6 -->|else| l1n8
          l1n4 -->|else| l1n9

        """)
  }

  @Test func asDOTWithEscapedQuotes() throws {
    let dot = Plan(try app()).drawn(as: .dot)
    #expect(dot.hasPrefix("digraph sluice {\n"))
    #expect(dot.hasSuffix("}\n"))
    #expect(dot.contains("subgraph cluster_l0n1 {"))
    #expect(dot.contains(#"l0n4 [label="some-password \"staff \"x\"\""];"#))
    #expect(dot.contains(#"l0n2 [label="limited\nrate=50/s"];"#))
    #expect(dot.contains("l1n4 -> l1n9 [label=\"else\"];"))
    #expect(dot.count { $0 == "{" } == dot.count { $0 == "}" })
  }

  @Test func withLiveCounts() async throws {
    let harness = try ChainHarness(.tcp) {
      Pass(); FewPerSecond(1)
    }
    for _ in 1...3 { await harness.run() }
    #expect(
      Plan([harness.service], counted: true).drawn(as: .text) == """
        tcp: tcp on 127.0.0.1:1
        ├─ pass  [3 in]
        ├─ few-per-second  [3 in, 2 refused]
        └▶ test  [1 in]

        """)
  }

  @Test func notesOfAReloadStandBelowTheirListener() throws {
    let old = try Service(
      Listener(.tcp, on: ":1") {
        FewPerSecond(1)
      } to: {
        Served()
      }, shards: 1)
    let new = try Service(
      Listener(.tcp, on: ":1") {
        Pass()
      } to: {
        Served()
      }, shards: 1, replacing: old.placement)
    #expect(
      Plan([new]).drawn(as: .text).hasSuffix(
        "  note: few-per-second is not in the new chain, or is of another type there: its state is dropped\n"))
  }
}

private struct Limited: Middleware {
  let rate: String
  init(_ rate: String) { self.rate = rate }
  var parameters: [Parameter] { [Parameter("rate", rate)] }
  func handle(_ exchange: Exchange, next: Next) async throws -> Summary { try await next() }
}
