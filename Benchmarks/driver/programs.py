"""What is compared, and how each program is started: one worker, pinned to one core, logging to a file."""

import os
import signal
import socket
import subprocess
import time

USER, PASSWORD = "fierceRabbit", "secretThicket"


def free_port():
    """A loopback port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def cpu_clock_ns(pid):
    """Exact run time of a process by the scheduler, threads that have ended included.

    This is the process's CPU clock: the sum of what /proc/PID/task/*/schedstat shows for the living threads,
    plus that of the dead ones, which matters for a program with one thread per connection.
    """
    return time.clock_gettime_ns((~pid << 3) | 2)


class Program:
    """One running proxy. `directory` holds its configuration and log."""

    def __init__(self, key, directory, core):
        self.key = key
        self.directory = directory
        self.core = core
        self.port = free_port()
        self.log = os.path.join(directory, "access.log")
        self.process = None
        os.makedirs(directory, exist_ok=True)

    def start(self, argv, output=None, environment=None):
        """Starts `argv`; standard output goes to `output` (default: a file beside the log), pinned to the core."""
        core = self.core
        with open(output or os.path.join(self.directory, "stdout"), "ab") as out, open(
            os.path.join(self.directory, "stderr"), "ab"
        ) as err:
            self.process = subprocess.Popen(
                argv,
                stdout=out,
                stderr=err,
                stdin=subprocess.DEVNULL,
                env={**os.environ, **(environment or {})},
                preexec_fn=lambda: os.sched_setaffinity(0, {core}),
                start_new_session=True,
            )
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                break
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return self
            except OSError:
                time.sleep(0.02)
        self.stop()
        with open(os.path.join(self.directory, "stderr"), errors="replace") as err:
            raise RuntimeError(f"{self.key} does not listen on {self.port}: {err.read()[-600:]}")

    def pids(self):
        """The process and its children (nginx and HAProxy work in a child)."""
        found, queue = [], [self.process.pid]
        while queue:
            pid = queue.pop()
            found.append(pid)
            try:
                for task in os.listdir(f"/proc/{pid}/task"):
                    with open(f"/proc/{pid}/task/{task}/children") as children:
                        queue += [int(child) for child in children.read().split()]
            except FileNotFoundError:
                pass
        return found

    def cpu_ns(self):
        return sum(cpu_clock_ns(pid) for pid in self.pids())

    def resident_kb(self):
        total = 0
        for pid in self.pids():
            with open(f"/proc/{pid}/status") as status:
                total += sum(int(line.split()[1]) for line in status if line.startswith("VmRSS"))
        return total

    def log_bytes(self):
        return os.path.getsize(self.log) if os.path.exists(self.log) else 0

    def stop(self):
        if self.process is None or self.process.poll() is not None:
            return
        # Its own session, so exactly the processes that this run started.
        for sent, patience in ((signal.SIGTERM, 2), (signal.SIGKILL, 5)):
            try:
                os.killpg(self.process.pid, sent)
                self.process.wait(patience)
                return
            except ProcessLookupError:
                return
            except subprocess.TimeoutExpired:
                continue


class Fleet:
    """Starts programs by key, and stops all of them at the end."""

    def __init__(self, top, scratch, core):
        self.top = top
        self.scratch = scratch
        self.core = core
        self.running = []
        self.count = 0

    def start(self, key, target_port, preload=None):
        self.count += 1
        program = Program(key, os.path.join(self.scratch, "runs", f"{self.count:03}-{key}"), self.core)
        self.running.append(program)
        return getattr(self, "start_" + key.replace("-", "_"))(program, target_port, preload)

    def stop(self, program):
        program.stop()
        self.running.remove(program)

    def stop_all(self):
        for program in list(self.running):
            self.stop(program)

    # -- ours

    def sluice(self, program, arguments, preload):
        environment = None
        if preload:
            environment = {"LD_PRELOAD": os.path.join(self.scratch, "malloc_count.so"), "MALLOC_COUNT": preload}
        app = os.path.join(self.top, ".build", "release", "ExampleApp")
        # The access log is standard output.
        return program.start([app, *arguments], output=program.log, environment=environment)

    def relay_arguments(self, program, target_port, *more):
        return ["relay", "--listen", f"127.0.0.1:{program.port}", "--to", f"127.0.0.1:{target_port}", "--workers", "1", *more]

    def start_sluice(self, program, target_port, preload=None):
        return self.sluice(program, self.relay_arguments(program, target_port, "--log", "text"), preload)

    def start_sluice_bare(self, program, target_port, preload=None):
        return self.sluice(program, self.relay_arguments(program, target_port, "--bare"), preload)

    def start_sluice_nolog(self, program, target_port, preload=None):
        return self.sluice(program, self.relay_arguments(program, target_port, "--log", "off"), preload)

    # The load differs, not the program.
    start_sluice_paced_origin = start_sluice_paced_client = start_sluice_nolog

    def limited_relay(self, program, target_port, preload, rate):
        more = ["--log", "off", "--bandwidth", rate]
        return self.sluice(program, self.relay_arguments(program, target_port, *more), preload)

    def start_sluice_limit_above(self, program, target_port, preload=None):
        return self.limited_relay(program, target_port, preload, "1000GB/s")

    def start_sluice_limit_100(self, program, target_port, preload=None):
        return self.limited_relay(program, target_port, preload, "100MB/s")

    def start_sluice_limit_10(self, program, target_port, preload=None):
        return self.limited_relay(program, target_port, preload, "10MB/s")

    def start_sluice_http_nolog(self, program, target_port, preload=None):
        return self.sluice(program, self.reverse_arguments(program, target_port, "--log", "off"), preload)

    def start_sluice_http_limit_above(self, program, target_port, preload=None):
        more = ["--log", "off", "--bandwidth", "1000GB/s"]
        return self.sluice(program, self.reverse_arguments(program, target_port, *more), preload)

    def start_sluice_json(self, program, target_port, preload=None):
        return self.sluice(program, self.relay_arguments(program, target_port, "--log", "json"), preload)

    def socks5_arguments(self, program, *more):
        return ["socks5", "--listen", f"127.0.0.1:{program.port}", "--user", f"{USER}:{PASSWORD}", "--workers", "1", *more]

    def start_sluice_socks5(self, program, _, preload=None):
        return self.sluice(program, self.socks5_arguments(program, "--log", "text"), preload)

    def reverse_arguments(self, program, target_port, *more):
        return ["reverse", "--listen", f"127.0.0.1:{program.port}", "--to", f"127.0.0.1:{target_port}", "--workers", "1", *more]

    def start_sluice_http(self, program, target_port, preload=None):
        return self.sluice(program, self.reverse_arguments(program, target_port, "--log", "text"), preload)

    def start_sluice_http_bare(self, program, target_port, preload=None):
        return self.sluice(program, self.reverse_arguments(program, target_port, "--bare"), preload)

    def start_sluice_forward(self, program, _, preload=None):
        arguments = ["forward", "--listen", f"127.0.0.1:{program.port}", "--user", f"{USER}:{PASSWORD}", "--workers", "1"]
        return self.sluice(program, [*arguments, "--log", "text"], preload)

    # -- peers

    def start_haproxy(self, program, target_port, _):
        # Splice is forced: `splice-auto` mostly copies on such a load, and is then easy to beat. The log is unbuffered.
        configuration = f"""
global
    nbthread 1
    maxconn 5000
    tune.pipesize 1048576
    log stdout format raw local0
defaults
    mode tcp
    log global
    option tcplog
    option splice-request
    option splice-response
    timeout connect 5s
    timeout client 5m
    timeout server 5m
listen relay
    bind 127.0.0.1:{program.port}
    server origin 127.0.0.1:{target_port}
"""
        path = self.write(program, "haproxy.cfg", configuration)
        return program.start([find("haproxy"), "-db", "-f", path], output=program.log)

    def start_nginx(self, program, target_port, _):
        return self.nginx(program, target_port)

    def start_nginx_half_close(self, program, target_port, _):
        return self.nginx(program, target_port, "proxy_half_close on;")

    def nginx(self, program, target_port, more=""):
        configuration = f"""
load_module /usr/lib/nginx/modules/ngx_stream_module.so;
user root;
worker_processes 1;
daemon off;
pid {program.directory}/nginx.pid;
error_log {program.directory}/error.log;
events {{ worker_connections 10000; }}
stream {{
    log_format one '$remote_addr [$time_local] $status $bytes_received $bytes_sent $session_time $upstream_addr';
    access_log {program.log} one;
    proxy_connect_timeout 5s;
    proxy_timeout 5m;
    {more}
    server {{
        listen 127.0.0.1:{program.port};
        proxy_pass 127.0.0.1:{target_port};
    }}
}}
"""
        if os.getuid() != 0:
            configuration = configuration.replace("user root;\n", "")
        path = self.write(program, "nginx.conf", configuration)
        return program.start([find("nginx"), "-e", f"{program.directory}/error.log", "-c", path])

    def start_go(self, program, target_port, _):
        argv = [self.built("go-relay"), f"127.0.0.1:{program.port}", f"127.0.0.1:{target_port}", program.log]
        return program.start(argv, environment={"GOMAXPROCS": "1"})

    def start_haproxy_http(self, program, target_port, _):
        configuration = f"""
global
    nbthread 1
    maxconn 5000
    log stdout format raw local0
defaults
    mode http
    log global
    option httplog
    option forwardfor
    http-reuse always
    timeout connect 5s
    timeout client 60s
    timeout server 15s
    timeout http-request 10s
    timeout http-keep-alive 60s
listen reverse
    bind 127.0.0.1:{program.port}
    server origin 127.0.0.1:{target_port}
"""
        path = self.write(program, "haproxy.cfg", configuration)
        return program.start([find("haproxy"), "-db", "-f", path], output=program.log)

    def start_nginx_http(self, program, target_port, _):
        return self.nginx_http(program, target_port, "off")

    def start_nginx_http_buffered(self, program, target_port, _):
        return self.nginx_http(program, target_port, "on")

    def nginx_http(self, program, target_port, buffering):
        # Its defaults speak HTTP/1.0 to the origin, close after each request, and end a client's connection after 1000 requests.
        configuration = f"""
user root;
worker_processes 1;
daemon off;
pid {program.directory}/nginx.pid;
error_log {program.directory}/error.log;
events {{ worker_connections 10000; }}
http {{
    log_format one '$remote_addr [$time_local] "$request" $status $body_bytes_sent $request_time $upstream_addr';
    access_log {program.log} one;
    client_body_temp_path {program.directory}/body;
    proxy_temp_path {program.directory}/proxy;
    fastcgi_temp_path {program.directory}/fastcgi;
    uwsgi_temp_path {program.directory}/uwsgi;
    scgi_temp_path {program.directory}/scgi;
    keepalive_requests 1000000000;
    upstream origin {{
        server 127.0.0.1:{target_port};
        keepalive 1024;
        keepalive_requests 1000000000;
    }}
    server {{
        listen 127.0.0.1:{program.port};
        location / {{
            proxy_pass http://origin;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_buffering {buffering};
        }}
    }}
}}
"""
        if os.getuid() != 0:
            configuration = configuration.replace("user root;\n", "")
        path = self.write(program, "nginx.conf", configuration)
        return program.start([find("nginx"), "-e", f"{program.directory}/error.log", "-c", path])

    def start_go_http(self, program, target_port, _):
        argv = [self.built("go-reverse"), f"127.0.0.1:{program.port}", f"127.0.0.1:{target_port}", program.log]
        return program.start(argv, environment={"GOMAXPROCS": "1"})

    def start_go_socks5(self, program, _, __):
        argv = [self.built("go-socks5"), f"127.0.0.1:{program.port}", USER, PASSWORD, program.log]
        return program.start(argv, environment={"GOMAXPROCS": "1"})

    def start_microsocks(self, program, _, __):
        argv = [find("microsocks"), "-i", "127.0.0.1", "-p", str(program.port), "-u", USER, "-P", PASSWORD]
        program.log = os.path.join(program.directory, "stderr")
        return program.start(argv)

    def built(self, name):
        return os.path.join(self.scratch, name)

    @staticmethod
    def write(program, name, text):
        path = os.path.join(program.directory, name)
        with open(path, "w") as file:
            file.write(text)
        return path


def find(name):
    """An executable, also where Debian keeps those that a user's PATH leaves out."""
    for directory in [*os.environ["PATH"].split(":"), "/usr/sbin", "/sbin"]:
        path = os.path.join(directory, name)
        if os.access(path, os.X_OK):
            return path
    raise RuntimeError(f"{name} is not installed: run Scripts/setup bench")
