package check

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func target(t *testing.T, address string) (Target, intstr.IntOrString) {
	t.Helper()
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	c := &corev1.Container{Name: "c", Ports: []corev1.ContainerPort{{Name: "web", ContainerPort: int32(number)}}}
	return Target{Container: c, IP: host}, intstr.FromInt32(int32(number))
}

func TestHTTP(t *testing.T) {
	var asked *http.Request
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = r
		switch r.URL.Path {
		case "/to-good":
			http.Redirect(w, r, "/good", http.StatusFound)
		case "/to-bad":
			http.Redirect(w, r, "/bad", http.StatusFound)
		case "/away":
			http.Redirect(w, r, "https://elsewhere.invalid/", http.StatusFound)
		case "/bad":
			w.WriteHeader(http.StatusInternalServerError)
		case "/slow":
			<-r.Context().Done()
		}
	}))
	defer server.Close()
	u, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	to, _ := target(t, u.Host)
	for path, want := range map[string]struct {
		ok, warning bool
		output      string
	}{
		"/good":      {ok: true},
		"/good?a=b":  {ok: true},
		"/to-good":   {ok: true},
		"/to-bad":    {output: "HTTP probe failed with statuscode: 500"},
		"/away":      {ok: true, warning: true, output: "Probe terminated redirects"},
		"/bad":       {output: "HTTP probe failed with statuscode: 500"},
		"/slow":      {output: "Client.Timeout"},
		"no-slash":   {ok: true},
		"/strange %": {ok: true},
	} {
		action := &corev1.HTTPGetAction{Path: path, Scheme: corev1.URISchemeHTTPS, Port: intstr.FromString("web"), HTTPHeaders: []corev1.HTTPHeader{{Name: "Host", Value: "a.example"}, {Name: "X-A", Value: "1"}}}
		answer, err := HTTP(context.Background(), to, action, 200*time.Millisecond)
		if err != nil || answer.OK != want.ok || answer.Warning != want.warning || !strings.Contains(answer.Output, want.output) {
			t.Errorf("%s: %+v, %v", path, answer, err)
		}
	}
	if asked.Host != "a.example" || asked.Header.Get("X-A") != "1" || !strings.HasPrefix(asked.UserAgent(), "kube-probe/") {
		t.Errorf("asked with host %s, headers %v", asked.Host, asked.Header)
	}
}

func TestTCPAndGRPC(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	to, port := target(t, listener.Addr().String())
	server, service := grpc.NewServer(), health.NewServer()
	grpc_health_v1.RegisterHealthServer(server, service)
	go server.Serve(listener) //nolint:errcheck // it ends with Stop
	name := "db"
	service.SetServingStatus(name, grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	ask := func(h corev1.ProbeHandler) Answer {
		t.Helper()
		answer, err := Checker{}.Ask(context.Background(), to, &corev1.Probe{ProbeHandler: h, TimeoutSeconds: 1})
		if err != nil {
			t.Fatal(err)
		}
		return answer
	}
	if a := ask(corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: port}}); !a.OK {
		t.Errorf("tcp: %+v", a)
	}
	if a := ask(corev1.ProbeHandler{GRPC: &corev1.GRPCAction{Port: int32(port.IntValue())}}); !a.OK {
		t.Errorf("grpc: %+v", a)
	}
	if a := ask(corev1.ProbeHandler{GRPC: &corev1.GRPCAction{Port: int32(port.IntValue()), Service: &name}}); a.OK || !strings.Contains(a.Output, "NOT_SERVING") {
		t.Errorf("grpc of a service that is down: %+v", a)
	}
	server.Stop()
	if a := ask(corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: port}}); a.OK || !strings.Contains(a.Output, "refused") {
		t.Errorf("tcp to nobody: %+v", a)
	}
	if a := ask(corev1.ProbeHandler{GRPC: &corev1.GRPCAction{Port: int32(port.IntValue())}}); a.OK {
		t.Errorf("grpc to nobody: %+v", a)
	}
}
