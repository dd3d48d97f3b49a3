"""Metrics and the admin listener on TCP: real prometheus, promtool, curl and wrk."""

import json
import os
import re
import signal
import threading
import time
import urllib.parse
import urllib.request

from harness import (
    PASSWORD, TOP, USER, HTTPOrigin, Origin, echo, eventually, free_port, limit, need, receive, run, socks5_connect, test,
)

DOCS = os.path.join(TOP, "Docs")


class Watched:
    """`ExampleApp server` with SOCKS5, a reverse proxy, raw TCP, and an admin listener on TCP."""

    def __init__(self, scope, *options, origin=None, upstream=None):
        self.scope = scope
        self.origin = origin or scope.keep(HTTPOrigin(body=b"x" * 128))
        self.upstream = upstream or scope.keep(Origin(echo))
        self.socks, self.reverse, self.tcp, self.admin = (free_port() for _ in range(4))
        self.socket = scope.path("sluice.sock")
        self.app = scope.app(
            "server", "--user", f"{USER}:{PASSWORD}", "--socks5", f"127.0.0.1:{self.socks}",
            "--reverse", f"127.0.0.1:{self.reverse}", "--origin", f"127.0.0.1:{self.origin.port}",
            "--tcp", f"127.0.0.1:{self.tcp}", "--to", f"127.0.0.1:{self.upstream.port}",
            "--admin", self.socket, "--admin-http", f"127.0.0.1:{self.admin}", "--ledger", "off", "--log", "off",
            "--workers", "2", *options,
            ready=[("127.0.0.1", port) for port in (self.socks, self.reverse, self.tcp, self.admin)])

    def ask(self, target, *options):
        """(status, fields, body) that a real curl gets from the admin listener."""
        code, output, errors = run([
            need("curl"), "-sS", "-i", "--max-time", "20", *options, f"http://127.0.0.1:{self.admin}{target}"])
        assert code == 0, errors
        head, _, body = output.decode().partition("\r\n\r\n")
        lines = head.split("\r\n")
        return int(lines[0].split()[1]), {k.lower(): v.strip() for k, v in (line.split(":", 1) for line in lines[1:])}, body

    def page(self):
        status, _, body = self.ask("/metrics")
        assert status == 200, body
        return body

    def samples(self):
        """{series: value} of a scrape."""
        return dict(line.rsplit(" ", 1) for line in self.page().splitlines() if not line.startswith("#"))

    def sum(self, name, **labels):
        """The sum of a metric over the series that have these labels."""
        return total(self.samples(), name, **labels)

    def tunnel(self):
        connection, code = socks5_connect(self.socks, self.upstream.address)
        assert code == 0, code
        return connection

    def get(self, path="/", *options):
        code, output, errors = run([
            need("curl"), "-sS", "-o", "/dev/null", "-w", "%{http_code}", "--max-time", "20", *options,
            f"http://127.0.0.1:{self.reverse}{path}"])
        assert code == 0, errors
        return int(output)


def total(samples, name, **labels):
    wanted = [f'{key}="{value}"' for key, value in labels.items()]
    return sum(
        float(value) for series, value in samples.items()
        if re.match(rf"{name}(\{{|$)", series) and all(label in series for label in wanted))


def traffic(server):
    """A little of everything."""
    for _ in range(3):
        assert server.get() == 200
    # The origin has no POST.
    assert server.get("/", "-X", "POST", "-d", "abc") == 501
    with server.tunnel() as tunnel:
        tunnel.sendall(b"hello")
        assert receive(tunnel, 5) == b"hello"


# ---- the formats, judged by others

@test
def promtool_finds_nothing_wrong_with_the_metrics(scope):
    server = Watched(scope)
    traffic(server)
    status, output, errors = run([need("promtool"), "check", "metrics"], input=server.page().encode())
    assert (status, output, errors) == (0, b"", ""), (output, errors)
    # It finds what is wrong.
    status, output, errors = run([need("promtool"), "check", "metrics"], input=b"# TYPE a counter\na 1\n")
    assert status != 0 and "total" in errors + output.decode(), (status, output, errors)


@test
def promtool_accepts_the_alert_rules_and_they_fire(scope):
    status, output, errors = run([need("promtool"), "check", "rules", os.path.join(DOCS, "alerts.yml")])
    assert status == 0 and b"rules found" in output, (output, errors)
    path = scope.path("alerts_test.yml")
    with open(path, "w") as file:
        file.write(ALERT_TEST.replace("RULES", os.path.join(DOCS, "alerts.yml")))
    status, output, errors = run([need("promtool"), "test", "rules", path])
    assert status == 0, (output.decode(), errors)


ALERT_TEST = """
rule_files: [RULES]
evaluation_interval: 15s
tests:
  - interval: 15s
    input_series:
      - {series: 'up{job="sluice", instance="a"}', values: '1x8 0x60'}
      - {series: 'proxy_ready{job="sluice", instance="a"}', values: '1x8 0x60'}
      - {series: 'proxy_backend_health{job="sluice", instance="a", upstream="web", backend="b1"}', values: '1x8 0x60'}
      - {series: 'proxy_requests_total{job="sluice", instance="a", listener="web", transport="http", code="200"}', values: '0+90x60'}
      - {series: 'proxy_requests_total{job="sluice", instance="a", listener="web", transport="http", code="503"}', values: '0+10x60'}
      - {series: 'proxy_requests_total{job="sluice", instance="a", listener="quiet", transport="http", code="200"}', values: '0+0x60'}
    alert_rule_test:
      - eval_time: 1m
        alertname: SluiceDown
        exp_alerts: []
      - eval_time: 5m
        alertname: SluiceDown
        exp_alerts:
          - exp_labels: {severity: critical, job: sluice, instance: a}
            exp_annotations:
              summary: "a cannot be scraped"
              description: "The process is gone, or its admin listener (--admin-http) cannot be reached. Look at its log and at /healthz."
      - eval_time: 14m
        alertname: SluiceDrainsForLong
        exp_alerts:
          - exp_labels: {severity: warning, job: sluice, instance: a}
            exp_annotations:
              summary: "a has been draining for 5 minutes"
              description: "A stop was asked for, and connections still live. /connections says which; a second signal cuts them."
      - eval_time: 5m
        alertname: SluiceUpstreamHasNoBackend
        exp_alerts:
          - exp_labels: {severity: critical, job: sluice, instance: a, upstream: web}
            exp_annotations:
              summary: "no backend of web is healthy"
              description: "Clients get 503, or what the panic rule still sends on. Look at the backends first, then at the health checks."
      - eval_time: 12m
        alertname: SluiceServerErrors
        exp_alerts:
          - exp_labels: {severity: warning, job: sluice, instance: a, listener: web}
            exp_annotations:
              summary: "web answers 10% of its requests with 5xx"
              description: "proxy_refusals_total by reason tells our own refusals from answers of the upstreams."
"""


class Prometheus:
    """A real one that scrapes every second."""

    def __init__(self, scope, target):
        self.port = free_port()
        config = scope.path("prometheus.yml")
        with open(config, "w") as file:
            file.write(
                "global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}\n"
                f"rule_files: ['{os.path.join(DOCS, 'alerts.yml')}']\n"
                f"scrape_configs: [{{job_name: sluice, static_configs: [{{targets: ['127.0.0.1:{target}']}}]}}]\n")
        status, output, errors = run([need("promtool"), "check", "config", config])
        assert status == 0, (output.decode(), errors)
        self.program = scope.program([
            need("prometheus"), f"--config.file={config}", f"--storage.tsdb.path={scope.path('tsdb')}",
            f"--web.listen-address=127.0.0.1:{self.port}", "--log.level=warn"], self.port, "prometheus")
        eventually(self.is_ready, "prometheus is ready", 30)

    def is_ready(self):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/-/ready", timeout=20) as answer:
                return answer.status == 200
        except OSError:
            return False

    def api(self, path, **query):
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(url, timeout=20) as answer:
            body = json.load(answer)
        assert body["status"] == "success", body
        return body["data"]

    def value(self, query):
        """The one number that a query comes to; `None` while there is none."""
        result = self.api("query", query=query)["result"]
        return float(result[0]["value"][1]) if result else None


def dashboard():
    with open(os.path.join(DOCS, "grafana-dashboard.json")) as file:
        return json.load(file)


def expressions():
    """Every query of the dashboard, with its variables filled in."""
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"].replace("$__rate_interval", "1m").replace("$job", ".*").replace(
                "$instance", ".*").replace("$listener", ".*")


@test
@limit(120)
def prometheus_scrapes_us_and_the_dashboards_queries_work(scope):
    server = Watched(scope)
    traffic(server)
    prometheus = Prometheus(scope, server.admin)
    # It asks for OpenMetrics, and would say what is wrong with it.
    def scraped():
        targets = prometheus.api("targets")["activeTargets"]
        # A machine under load may take longer than a scrape may; the next one comes.
        if any("deadline exceeded" in target["lastError"] for target in targets):
            return False
        assert all(target["lastError"] == "" for target in targets), targets
        return any(target["health"] == "up" for target in targets)
    eventually(scraped, "a scrape", 30)
    eventually(
        lambda: prometheus.value('sum(proxy_requests_total{listener="reverse",code="200"})') == 3, "the requests", 30)
    assert prometheus.value('sum(proxy_requests_total{listener="reverse",method="POST"})') == 1
    eventually(lambda: prometheus.value('sum(proxy_bytes_total{listener="socks5",direction="up"})') == 5, "the bytes", 30)
    assert prometheus.value("proxy_ready") == 1
    assert prometheus.value("process_open_fds") > 3
    meta = prometheus.api("metadata")
    assert meta["proxy_request_duration_seconds"][0]["type"] == "histogram", meta["proxy_request_duration_seconds"]
    assert meta["proxy_requests_total"][0]["type"] == "counter" if "proxy_requests_total" in meta else (
        meta["proxy_requests"][0]["type"] == "counter")
    asked = list(expressions())
    assert len(asked) > 25
    for title, expression in asked:
        prometheus.api("query", query=expression)
    groups = prometheus.api("rules")["groups"]
    assert groups and all(rule["health"] != "err" for group in groups for rule in group["rules"]), groups


@test
def the_dashboard_and_the_alerts_name_only_metrics_that_are_documented(scope):
    with open(os.path.join(DOCS, "Metrics.md")) as file:
        documented = set(re.findall(r"`((?:proxy|process)_[a-z_]+)", file.read()))
    with open(os.path.join(DOCS, "alerts.yml")) as file:
        text = file.read() + "\n".join(expression for _, expression in expressions())
    named = {re.sub(r"_(bucket|sum|count)$", "", name) for name in re.findall(r"\b(?:proxy|process)_[a-z_]+", text)}
    assert len(named) > 20
    assert named <= documented, sorted(named - documented)


@test
def every_metric_that_is_served_is_documented(scope):
    server = Watched(scope)
    traffic(server)
    with open(os.path.join(DOCS, "Metrics.md")) as file:
        documented = set(re.findall(r"`((?:proxy|process)_[a-z_]+)", file.read()))
    served = set(re.findall(r"^# TYPE (\S+)", server.page(), re.MULTILINE))
    assert len(served) > 25
    assert served <= documented, sorted(served - documented)


# ---- the numbers

@test
def the_counters_are_what_wrk_counted(scope):
    server = Watched(scope)
    # The gateway's limit of requests per client answers 429 from some point on: those count, too.
    status, output, errors = run(
        [need("wrk"), "-t2", "-c16", "-d2s", f"http://127.0.0.1:{server.reverse}/"], timeout=60)
    assert status == 0, errors
    done = int(re.search(r"(\d+) requests in", output.decode()).group(1))
    # What was on its way when wrk stopped comes to its end.
    eventually(lambda: server.sum("proxy_active_connections", listener="reverse") == 0, "the last connection")
    samples = server.samples()
    counted = total(samples, "proxy_requests_total", listener="reverse")
    assert done <= counted <= done + 16, (done, counted)
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", output.decode())
    limited = total(samples, "proxy_requests_total", listener="reverse", code="429")
    assert abs(limited - (int(refused.group(1)) if refused else 0)) <= 16, (limited, output)
    assert total(samples, "proxy_refusals_total", listener="reverse", reason="rateLimited") == limited
    assert total(samples, "proxy_request_duration_seconds_count", listener="reverse") == counted
    assert total(samples, "proxy_active_requests", listener="reverse") == 0


@test
def whatever_clients_send_makes_no_series(scope):
    server = Watched(scope)
    def strange(number):
        server.get(f"/{number}/x?{number}", "-H", f"host: h{number}.example", "-X", f"M{number}", "-A", f"a{number}")
        run([need("curl"), "-s", "-m", "5", "-x", f"socks5h://user{number}:pw@127.0.0.1:{server.socks}",
             f"http://127.0.0.1:{server.origin.port}/"])
        server.ask(f"/p{number}", "-H", f"x: {number}")
    strange(0)
    series = set(server.samples())
    for number in range(1, 15):
        strange(number)
    new = set(server.samples()) - series
    # Numbers of one refusal or another, and no text of a client's.
    assert len(new) < 10 and not any(re.search(r"user\d|h\d|M\d|a\d", one) for one in new), new


@test
def a_live_tunnel_counts_before_its_end(scope):
    server = Watched(scope)
    with server.tunnel() as tunnel:
        tunnel.sendall(b"x" * 1000)
        assert receive(tunnel, 1000) == b"x" * 1000
        eventually(lambda: server.sum("proxy_bytes_total", listener="socks5", direction="down") == 1000, "the bytes")
        assert server.sum("proxy_active_requests", listener="socks5") == 1
        assert server.sum("proxy_active_connections", listener="socks5") == 1
        assert server.sum("proxy_requests_total", listener="socks5") == 0
    eventually(lambda: server.sum("proxy_requests_total", listener="socks5") == 1, "the end")
    assert server.sum("proxy_active_requests", listener="socks5") == 0


# ---- readiness

@test
def readiness_turns_with_the_signal_and_is_answered_until_the_end(scope):
    server = Watched(scope, "--grace", "20s")
    assert server.ask("/readyz")[0::2] == (200, "ready\n")
    assert server.ask("/healthz")[0::2] == (200, "ok\n")
    with server.tunnel() as tunnel:
        server.app.terminate(signal.SIGTERM)
        eventually(lambda: server.ask("/readyz")[0] == 503, "draining")
        assert server.ask("/readyz")[2] == "draining\n"
        assert server.ask("/healthz")[0] == 200
        assert server.samples()["proxy_ready"] == "0"
        status, _, body = server.ask("/connections")
        assert status == 200 and any(row["listener"] == "socks5" for row in json.loads(body)["connections"]), body
        tunnel.sendall(b"still")
        assert receive(tunnel, 5) == b"still"
        assert server.ask("/readyz")[0] == 503
    assert server.app.wait(10) == 0, server.app.errors()
    assert " cut" not in server.app.errors().split("stopped:")[1].replace("0 cut", "")


@test
def a_scraper_that_keeps_its_connection_holds_up_no_stop(scope):
    server = Watched(scope)
    import http.client
    scraper = http.client.HTTPConnection("127.0.0.1", server.admin, timeout=20)
    scraper.request("GET", "/metrics")
    assert scraper.getresponse().read().startswith(b"# HELP")
    began = time.monotonic()
    server.app.terminate(signal.SIGTERM)
    assert server.app.wait(20) == 0, server.app.errors()
    assert time.monotonic() - began < 15
    scraper.close()


# ---- who may ask

@test
def a_page_in_a_browser_reaches_nothing(scope):
    server = Watched(scope)
    # DNS rebinding: the page's own name points here.
    status, fields, body = server.ask("/metrics", "-H", "host: evil.example:9901")
    assert status == 403 and "--admin-http-host" in body, (status, body)
    assert server.ask("/metrics", "-H", "host: localhost:9901")[0] == 200
    assert server.ask("/metrics", "-H", "host: [::1]")[0] == 200
    # A form or a script of another origin.
    status, _, body = server.ask("/stats", "-X", "POST", "-H", "origin: http://evil.example")
    assert status == 403 and "x-sluice-admin" in body, (status, body)
    status, fields, _ = server.ask(
        "/stats", "-X", "OPTIONS", "-H", "origin: http://evil.example", "-H", "access-control-request-headers: x-sluice-admin")
    assert status == 403 and not any(name.startswith("access-control") for name in fields), fields
    status, fields, _ = server.ask("/chain")
    assert status == 200 and fields["x-content-type-options"] == "nosniff" and fields["cache-control"] == "no-store"


@test
def it_says_nothing_of_users_to_whoever_can_connect(scope):
    server = Watched(scope)
    with server.tunnel() as tunnel:
        tunnel.sendall(b"x")
        assert receive(tunnel, 1) == b"x"
        rows = json.loads(server.ask("/connections")[2])["connections"]
        row = next(row for row in rows if row["listener"] == "socks5")
        assert row["identity"] is None and row["destination"] is None and row["client"].startswith("127.0.0.1:"), row
        assert USER not in server.ask("/connections?user=" + USER)[2] + server.ask("/stats")[2] + server.page()
        # The owner sees more, on the socket.
        code, output, _ = run([need("curl"), "-sS", "--unix-socket", server.socket, "http://sluice/connections"])
        owner = next(row for row in json.loads(output)["connections"] if row["listener"] == "socks5")
        assert code == 0 and owner["identity"] == USER, owner
    for target in ("/users", f"/users/{USER}/stats"):
        assert server.ask(target)[0] == 404, target
    for target in ("/flush", "/reload-users", f"/users/{USER}/block"):
        assert server.ask(target, "-X", "POST", "-H", "x-sluice-admin: 1")[0] == 404, target


@test
def wrong_admin_settings_are_one_sentence_each(scope):
    taken = scope.keep(Origin(echo))
    for options, sentence in [
        (["--admin-http", f"127.0.0.1:{taken.port}"], f"--admin-http: address in use: 127.0.0.1:{taken.port}; name another"),
        (["--admin-http", "somewhere"], '--admin-http: "somewhere" is not allowed; allowed is 1.2.3.4:9901'),
        (["--admin-http-host", "a b", "--admin-http", "off"], '--admin-http-host: "a b" is not allowed'),
    ]:
        app = scope.app("server", "--user", "a:b", "--socks5", f"127.0.0.1:{free_port()}", "--ledger", "off", *options)
        assert app.wait(20) != 0 and sentence in app.errors(), app.errors()
    port = free_port()
    app = scope.app(
        "server", "--user", "a:b", "--socks5", f"127.0.0.1:{free_port()}", "--ledger", "off",
        "--admin-http", f"0.0.0.0:{port}", ready=[("127.0.0.1", port)])
    assert "warning: --admin-http 0.0.0.0" in app.errors(), app.errors()


@test
def many_scrapes_beside_traffic_disturb_nobody(scope):
    server = Watched(scope)
    traffic(server)
    failures = []
    def scrape():
        for _ in range(20):
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{server.admin}/metrics", timeout=20) as answer:
                    assert answer.status == 200 and answer.read().count(b"# TYPE proxy_requests_total") == 1
            except Exception as error:  # told to the test below
                failures.append(repr(error))
    threads = [threading.Thread(target=scrape) for _ in range(8)]
    for thread in threads:
        thread.start()
    with server.tunnel() as tunnel:
        while any(thread.is_alive() for thread in threads):
            tunnel.sendall(b"ping")
            assert receive(tunnel, 4) == b"ping"
    assert not failures, failures[:3]


# ---- upstreams

class Named(HTTPOrigin):
    """An origin that says which one it is."""

    def __init__(self, name):
        super().__init__(body=name.encode())


def proxy(scope, *backends, options=()):
    """(app, port, admin port) of `ExampleApp proxy`."""
    port, admin = free_port(), free_port()
    words = [word for backend in backends for word in ("--backend", backend)]
    app = scope.app(
        "proxy", "--listen", f"127.0.0.1:{port}", "--admin-http", f"127.0.0.1:{admin}", *words, *options,
        ready=[("127.0.0.1", port), ("127.0.0.1", admin)])
    return app, port, admin


def fetch(port, path, *options):
    """(status, body) of one request with a real curl."""
    code, output, errors = run([
        need("curl"), "-sS", "-w", "\n%{http_code}", "--max-time", "20", *options, f"http://127.0.0.1:{port}{path}"])
    assert code == 0, errors
    body, _, status = output.decode().rpartition("\n")
    return int(status), body


@test
def a_backend_is_drained_and_brought_back_by_hand(scope):
    one, two = scope.keep(Named("one")), scope.keep(Named("two"))
    app, port, admin = proxy(scope, f"http://127.0.0.1:{one.port}", f"http://127.0.0.1:{two.port}")
    name = f"127.0.0.1:{one.port}"

    def answers():
        return {fetch(port, "/")[1] for _ in range(6)}

    def order(action, backend=name, *options):
        return fetch(admin, f"/upstreams/backends/{backend}/{action}", "-X", "POST", *(options or ("-H", "x-sluice-admin: 1")))

    def health():
        page = fetch(admin, "/metrics")[1]
        return dict(re.findall(r'proxy_backend_health\{upstream="backends",backend="([^"]+)"\} (\d)', page))

    assert answers() == {"one", "two"}
    status, body = fetch(admin, "/upstreams")
    group = json.loads(body)["upstreams"][0]
    assert status == 200 and group["upstream"] == "backends" and len(group["backends"]) == 2, body
    assert sum(backend["answered"] for backend in group["backends"]) == 6, body
    # A web page could send this.
    assert order("drain", name, "-H", "content-type: text/plain")[0] == 403
    assert answers() == {"one", "two"}
    for action, state in (("drain", "draining"), ("disable", "disabled")):
        status, body = order(action)
        assert status == 200, body
        backend = next(b for b in json.loads(body)["upstreams"][0]["backends"] if b["backend"] == name)
        assert backend["state"] == state and backend["usable"] is False, backend
        assert answers() == {"two"}
        assert health() == {name: "0", f"127.0.0.1:{two.port}": "1"}
    status, body = order("enable")
    assert status == 200 and answers() == {"one", "two"} and set(health().values()) == {"1"}, body
    status, body = order("drain", "nobody:1")
    assert status == 404 and "nobody:1" in json.loads(body)["error"], body
    status, body = order("kill")
    assert status == 404 and "allowed are enable, disable, drain" in json.loads(body)["error"], body
    status, body = fetch(admin, "/upstreams/other/x/drain", "-X", "POST", "-H", "x-sluice-admin: 1")
    assert status == 404 and "known are backends" in json.loads(body)["error"], body
    assert "admin: drain" in app.errors()


@test
def a_backend_that_dies_is_seen_in_the_metrics(scope):
    one, two = scope.keep(Named("one")), scope.keep(Named("two"))
    app, port, admin = proxy(scope, f"http://127.0.0.1:{one.port}", f"http://127.0.0.1:{two.port}")
    gone = f"127.0.0.1:{two.port}"
    two.server.shutdown()
    two.server.server_close()

    def is_out():
        assert fetch(port, "/") == (200, "one")
        return f'proxy_backend_health{{upstream="backends",backend="{gone}"}} 0' in fetch(admin, "/metrics")[1]

    eventually(is_out, "the dead backend is out", 30)
    page = fetch(admin, "/metrics")[1]
    failed = re.search(rf'proxy_backend_failures_total\{{upstream="backends",backend="{gone}",reason="connect"\}} (\d+)', page)
    assert failed and int(failed.group(1)) > 0, page
    # Its requests went on to the other one.
    assert re.search(r'proxy_retries_total\{listener="proxy",transport="http"\} [1-9]', page), page
    assert 'code="502"' not in page and 'code="503"' not in page
    status, output, errors = run([need("promtool"), "check", "metrics"], input=page.encode())
    assert (status, output, errors) == (0, b"", ""), (output, errors)


@test
def a_reload_keeps_the_counters_and_the_door(scope):
    one, two = scope.keep(Named("one")), scope.keep(Named("two"))
    config = scope.path("proxy.yaml")

    def write(*origins):
        with open(config, "w") as file:
            file.write("servers:\n" + "".join(f"  - url: http://127.0.0.1:{origin.port}\n" for origin in origins))

    write(one)
    port, admin = free_port(), free_port()
    app = scope.app(
        "proxy", "--config", config, "--listen", f"127.0.0.1:{port}", "--admin-http", f"127.0.0.1:{admin}",
        ready=[("127.0.0.1", port), ("127.0.0.1", admin)])

    def count(name):
        page = fetch(admin, "/metrics")[1]
        return sum(int(value) for value in re.findall(rf"^{name}\{{.*\}} (\d+)$", page, re.MULTILINE))

    for _ in range(4):
        assert fetch(port, "/") == (200, "one")
    write(one, two)
    app.terminate(signal.SIGHUP)
    eventually(lambda: fetch(admin, "/metrics")[1].count("proxy_backend_health{") == 2, "the second backend")
    for _ in range(4):
        assert fetch(port, "/")[0] == 200
    assert count("proxy_requests_total") == 8
    assert count("proxy_backend_requests_total") == 8
    assert fetch(admin, "/readyz")[0] == 200
