package server_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/transport/spdy"
	"k8s.io/client-go/util/exec"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
	statsapi "k8s.io/kubelet/pkg/apis/stats/v1alpha1"
	"k8s.io/streaming/pkg/httpstream"

	"github.com/sinawi/sinawi/internal/runtime/runtimetest"
)

// TestContainers asks about real containers; one runtime serves all.
func TestContainers(t *testing.T) {
	g := serve(t, runtimetest.Start(t), nil)
	for _, test := range []struct {
		name string
		run  func(*testing.T, *rig)
	}{
		{"logs", testLogs}, {"follow", testFollow}, {"exec", testExec}, {"attach", testAttach}, {"terminal", testTerminal},
		{"port forward", testPortForward}, {"measures", testMeasures},
	} {
		t.Run(test.name, func(t *testing.T) {
			own := *g
			own.TB = t
			test.run(t, &own)
		})
	}
}

func testLogs(t *testing.T, g *rig) {
	pod, id := g.run("logs", "echo one; echo two; echo three", nil)
	g.ended(id)
	tests := []struct {
		query  string
		status int
		want   string
	}{
		{"", 200, "one\ntwo\nthree\n"},
		{"?tailLines=1", 200, "three\n"},
		{"?tail=1", 200, "three\n"},
		{"?limitBytes=5", 200, "one\nt"},
		{"?stream=Stderr", 200, ""},
		{"?stream=Stdout", 200, "one\ntwo\nthree\n"},
		{"?sinceTime=2100-01-01T00:00:00Z", 200, ""},
		{"?follow=true", 200, "one\ntwo\nthree\n"},
		{"?previous=true", 400, `previous terminated container "c" in pod "logs" not found`},
		{"?tailLines=-1", 422, `{"message": "Invalid request: tailLines must not be negative."}`},
		{"?tailLines=x", 400, `{"message": "Unable to decode query: tailLines is not a number."}`},
		{"?sinceSeconds=0", 422, `{"message": "Invalid request: sinceSeconds must be greater than 0."}`},
	}
	for _, test := range tests {
		status, body := g.get("/containerLogs/default/logs/c" + test.query)
		if test.status != 200 {
			body = strings.TrimSuffix(body, "\n")
		}
		if status != test.status || body != test.want {
			t.Errorf("%s: got %d %q, want %d %q", test.query, status, body, test.status, test.want)
		}
	}
	_, both := g.run("streams", "echo out; echo err >&2", nil)
	g.ended(both)
	for stream, want := range map[string]string{"Stdout": "out\n", "Stderr": "err\n"} {
		if status, body := g.get("/containerLogs/default/streams/c?stream=" + stream); status != 200 || body != want {
			t.Errorf("%s: %d %q", stream, status, body)
		}
	}
	if status, body := g.get("/containerLogs/default/logs/none"); status != 404 || body != "container \"none\" not found in pod \"logs\"\n" {
		t.Errorf("%d %q", status, body)
	}
	if status, body := g.get("/containerLogs/default/none/c"); status != 404 || body != "pod \"none\" does not exist\n" {
		t.Errorf("%d %q", status, body)
	}
	if _, body := g.get("/containerLogs/default/logs/c?timestamps=true&tailLines=1"); len(body) != len("2026-11-21T10:00:00.000000000Z three\n") {
		t.Errorf("with time: %q", body)
	}
	for reason, want := range map[string]string{
		"ContainerCreating": `container "c" in pod "logs" is waiting to start: ContainerCreating`,
		"ImagePullBackOff":  `container "c" in pod "logs" is waiting to start: trying and failing to pull image`,
	} {
		pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "c", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason}}}}
		if status, body := g.get("/containerLogs/default/logs/c"); status != 400 || strings.TrimSpace(body) != want {
			t.Errorf("%d %q", status, body)
		}
	}
	// Waiting for the next start: both the newest log and the previous one are the last run's.
	pod.Status.ContainerStatuses[0].LastTerminationState.Terminated = &corev1.ContainerStateTerminated{ContainerID: "containerd://" + id}
	for _, query := range []string{"", "?previous=true"} {
		if status, body := g.get("/containerLogs/default/logs/c" + query); status != 200 || body != "one\ntwo\nthree\n" {
			t.Errorf("%s: %d %q", query, status, body)
		}
	}
}

// What a container writes comes while it runs, across a rotation, and the
// answer ends with the container.
func testFollow(t *testing.T, g *rig) {
	_, id := g.run("follow", "echo begin; while [ ! -e /tmp/go ]; do sleep 0.01; done; echo middle; while [ ! -e /tmp/end ]; do sleep 0.01; done; echo end", nil)
	client := g.client("kube-apiserver-kubelet-client")
	answer, err := client.Get("https://" + g.addr + "/containerLogs/default/follow/c?follow=true")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	lines := bufio.NewScanner(answer.Body)
	next := func(want string) {
		t.Helper()
		if !lines.Scan() || lines.Text() != want {
			t.Fatalf("got %q, want %q: %v", lines.Text(), want, lines.Err())
		}
	}
	next("begin")
	touch := func(path string) {
		t.Helper()
		if _, err := g.r.Runtime.ExecSync(t.Context(), &cri.ExecSyncRequest{ContainerId: id, Cmd: []string{"touch", path}}); err != nil {
			t.Fatal(err)
		}
	}
	touch("/tmp/go")
	next("middle")
	touch("/tmp/end")
	next("end")
	if lines.Scan() {
		t.Errorf("more: %q", lines.Text())
	}
}

// executors are the two ways to speak to a process.
func (g *rig) executors(path string) map[string]remotecommand.Executor {
	g.Helper()
	certificate := g.sign("kube-apiserver-kubelet-client")
	config := &rest.Config{Host: "https://" + g.addr, TLSClientConfig: rest.TLSClientConfig{CAData: g.pem()}}
	config.CertData, config.KeyData = encode(g, certificate)
	target, err := url.Parse(config.Host + path)
	if err != nil {
		g.Fatal(err)
	}
	spdyWay, err := remotecommand.NewSPDYExecutor(config, http.MethodPost, target)
	if err != nil {
		g.Fatal(err)
	}
	webWay, err := remotecommand.NewWebSocketExecutor(config, http.MethodGet, target.String())
	if err != nil {
		g.Fatal(err)
	}
	return map[string]remotecommand.Executor{"SPDY": spdyWay, "WebSocket": webWay}
}

func testExec(t *testing.T, g *rig) {
	g.run("exec", "sleep 1000", nil)
	command := "&command=/bin/sh&command=-c&command="
	script := url.QueryEscape("cat; echo err >&2; exit 7")
	for name, executor := range g.executors("/exec/default/exec/c?input=1&output=1&error=1" + command + script) {
		t.Run(name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			big := strings.Repeat("0123456789", 10000)
			err := executor.StreamWithContext(ctx, remotecommand.StreamOptions{Stdin: strings.NewReader(big), Stdout: &stdout, Stderr: &stderr})
			var exit exec.CodeExitError
			if !errors.As(err, &exit) || exit.Code != 7 {
				t.Errorf("ended with %v", err)
			}
			if stdout.String() != big || stderr.String() != "err\n" {
				t.Errorf("got %d bytes, %q", stdout.Len(), stderr.String())
			}
		})
	}
	status, body := call(t, g.client("kube-apiserver-kubelet-client"), http.MethodPost, "https://"+g.addr+"/run/default/exec/c?cmd=echo+hello", "")
	if status != 200 || body != "hello\n" {
		t.Errorf("run: %d %q", status, body)
	}
	status, body = call(t, g.client("kube-apiserver-kubelet-client"), http.MethodPost, "https://"+g.addr+"/exec/default/exec/none?output=1&command=x", "")
	if status != 500 || body != `container not found ("none")` {
		t.Errorf("no container: %d %q", status, body)
	}
	status, body = call(t, g.client("kube-apiserver-kubelet-client"), http.MethodPost, "https://"+g.addr+"/exec/default/exec/other-uid/c?output=1&command=x", "")
	if status != 404 {
		t.Errorf("a pod of the same name before: %d %q", status, body)
	}
	if status, body = g.get("/runningpods"); status != 200 || !strings.Contains(body, `"name":"exec"`) {
		t.Errorf("running pods: %d %s", status, body)
	}
}

func testAttach(t *testing.T, g *rig) {
	for i, way := range []string{"SPDY", "WebSocket"} {
		t.Run(way, func(t *testing.T) {
			name := fmt.Sprint("attach-", i)
			_, id := g.run(name, "read line; echo got $line; exit 3", func(c *cri.ContainerConfig) { c.Stdin, c.StdinOnce = true, true })
			var stdout bytes.Buffer
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			err := g.executors("/attach/default/" + name + "/c?input=1&output=1&error=1")[way].StreamWithContext(ctx,
				remotecommand.StreamOptions{Stdin: strings.NewReader("hello\n"), Stdout: &stdout, Stderr: io.Discard})
			if err != nil {
				t.Error(err)
			}
			if stdout.String() != "got hello\n" {
				t.Errorf("got %q", stdout.String())
			}
			g.ended(id)
		})
	}
}

// sizes offers one terminal size.
type sizes chan remotecommand.TerminalSize

func (s sizes) Next() *remotecommand.TerminalSize {
	size, ok := <-s
	if !ok {
		return nil
	}
	return &size
}

func testTerminal(t *testing.T, g *rig) {
	g.run("terminal", "sleep 1000", nil)
	script := url.QueryEscape("while [ \"$(stty size 2>/dev/null)\" != '33 77' ]; do sleep 0.01; done; stty size")
	for name, executor := range g.executors("/exec/default/terminal/c?output=1&tty=1&command=/bin/sh&command=-c&command=" + script) {
		t.Run(name, func(t *testing.T) {
			queue := make(sizes, 1)
			queue <- remotecommand.TerminalSize{Height: 33, Width: 77}
			defer close(queue)
			var stdout bytes.Buffer
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			err := executor.StreamWithContext(ctx, remotecommand.StreamOptions{Stdout: &stdout, Tty: true, TerminalSizeQueue: queue})
			if err != nil || stdout.String() != "33 77\r\n" {
				t.Errorf("got %q, %v", stdout.String(), err)
			}
		})
	}
}

func testPortForward(t *testing.T, g *rig) {
	listener, err := net.Listen("tcp", "127.0.0.1:0") // the pod shares the host's network
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				line, _ := bufio.NewReader(conn).ReadString('\n')
				fmt.Fprint(conn, "echo "+line)
			}()
		}
	}()
	g.run("forward", "sleep 1000", nil)
	config := &rest.Config{Host: "https://" + g.addr, TLSClientConfig: rest.TLSClientConfig{CAData: g.pem()}}
	config.CertData, config.KeyData = encode(g, g.sign("kube-apiserver-kubelet-client"))
	target, err := url.Parse(config.Host + "/portForward/default/forward")
	if err != nil {
		t.Fatal(err)
	}
	transport, upgrader, err := spdy.RoundTripperFor(config)
	if err != nil {
		t.Fatal(err)
	}
	tunnel, err := portforward.NewSPDYOverWebsocketDialerForStreaming(target, config)
	if err != nil {
		t.Fatal(err)
	}
	for name, dialer := range map[string]httpstream.Dialer{
		"SPDY": spdy.NewDialerForStreaming(upgrader, &http.Client{Transport: transport}, http.MethodPost, target), "WebSocket": tunnel,
	} {
		t.Run(name, func(t *testing.T) {
			stop, ready := make(chan struct{}), make(chan struct{})
			forwarder, err := portforward.NewOnAddressesForStreaming(dialer, []string{"127.0.0.1"}, []string{fmt.Sprint("0:", listener.Addr().(*net.TCPAddr).Port)}, stop, ready, io.Discard, io.Discard)
			if err != nil {
				t.Fatal(err)
			}
			done := make(chan error, 1)
			go func() { done <- forwarder.ForwardPorts() }()
			defer func() {
				close(stop)
				<-done
			}()
			select {
			case <-ready:
			case err := <-done:
				done <- err
				t.Fatal(err)
			}
			ports, err := forwarder.GetPorts()
			if err != nil {
				t.Fatal(err)
			}
			for i := range 3 {
				conn, err := net.Dial("tcp", fmt.Sprint("127.0.0.1:", ports[0].Local))
				if err != nil {
					t.Fatal(err)
				}
				fmt.Fprintf(conn, "hello %d\n", i)
				got, err := io.ReadAll(conn)
				conn.Close()
				if err != nil || string(got) != fmt.Sprintf("echo hello %d\n", i) {
					t.Errorf("got %q, %v", got, err)
				}
			}
		})
	}
}

func testMeasures(t *testing.T, g *rig) {
	g.run("busy", "while true; do :; done", nil)
	until(t, `"name":"busy"`, func() string {
		_, body := g.get("/stats/summary")
		return body
	})
	var summary statsapi.Summary
	status, body := g.get("/stats/summary")
	if err := json.Unmarshal([]byte(body), &summary); err != nil || status != 200 {
		t.Fatalf("%d %s: %v", status, body, err)
	}
	n := summary.Node
	if n.NodeName != "n1" || n.CPU == nil || *n.CPU.UsageCoreNanoSeconds == 0 || n.Memory == nil || *n.Memory.WorkingSetBytes == 0 ||
		n.Fs == nil || *n.Fs.CapacityBytes == 0 || n.Runtime == nil || n.Rlimit == nil || n.StartTime.IsZero() {
		t.Errorf("node: %+v", n)
	}
	until(t, "measured", func() string {
		_, body := g.get("/stats/summary")
		if json.Unmarshal([]byte(body), &summary) != nil {
			return body
		}
		for _, pod := range summary.Pods {
			if pod.PodRef.Name == "busy" && len(pod.Containers) == 1 && pod.Containers[0].Name == "c" && pod.Containers[0].CPU != nil &&
				*pod.Containers[0].CPU.UsageCoreNanoSeconds > 0 && pod.Containers[0].Memory.WorkingSetBytes != nil && pod.CPU != nil && !pod.StartTime.IsZero() {
				return "measured"
			}
		}
		return body
	})
	for path, want := range map[string]string{
		"/metrics/resource": `container_cpu_usage_seconds_total{container="c",namespace="default",pod="busy"} `,
		"/metrics":          `kubelet_running_containers{container_state="running"} `,
		"/metrics/cadvisor": `container_memory_working_set_bytes{container="c",id="`,
	} {
		if status, body := g.get(path); status != 200 || !strings.Contains(body, want) {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
}
