package server_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sinawi/sinawi/internal/agent/server"
)

// reviews knows one token and lets its owner read metrics.
type reviews struct{ asked []string }

func (r *reviews) Token(_ context.Context, token string) (authenticationv1.UserInfo, bool, error) {
	if token == "broken" {
		return authenticationv1.UserInfo{}, false, errors.New("no answer")
	}
	return authenticationv1.UserInfo{Username: "prometheus"}, token == "good", nil
}

func (r *reviews) Allowed(_ context.Context, user authenticationv1.UserInfo, a authorizationv1.ResourceAttributes) (bool, error) {
	r.asked = append(r.asked, user.Username+" "+a.Verb+" "+a.Resource+"/"+a.Name+"/"+a.Subresource)
	return user.Username == "prometheus" && a.Subresource == "healthz", nil
}

func TestAccess(t *testing.T) {
	access := &reviews{}
	g := serve(t, nil, func(d *server.Deps, _ *server.Options) { d.Access = access })
	tests := map[string]struct {
		client       *http.Client
		token        string
		method, path string
		status       int
		asked        []string
	}{
		"nobody":              {client: g.client(""), path: "/healthz", status: 401},
		"the API server":      {client: g.client("kube-apiserver-kubelet-client"), path: "/healthz", status: 200},
		"a master":            {client: g.client("ann", "system:masters"), path: "/healthz/ping", status: 200},
		"a node":              {client: g.client("system:node:n2", "system:nodes"), path: "/pods", status: 403, asked: []string{"system:node:n2 get nodes/n1/pods", "system:node:n2 get nodes/n1/proxy"}},
		"a good token":        {client: g.client(""), token: "good", path: "/healthz", status: 200, asked: []string{"prometheus get nodes/n1/healthz"}},
		"a good token, no":    {client: g.client(""), token: "good", path: "/metrics/resource", status: 403, asked: []string{"prometheus get nodes/n1/metrics"}},
		"a bad token":         {client: g.client(""), token: "bad", path: "/healthz", status: 401},
		"no answer":           {client: g.client(""), token: "broken", path: "/healthz", status: 401},
		"exec is not reading": {client: g.client(""), token: "good", path: "/exec/a/b/c", status: 403, asked: []string{"prometheus create nodes/n1/proxy"}},
		"writing":             {client: g.client(""), token: "good", method: http.MethodPost, path: "/logs/x", status: 403, asked: []string{"prometheus create nodes/n1/log"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			access.asked = nil
			status, body := call(t, test.client, test.method, "https://"+g.addr+test.path, test.token)
			if status != test.status {
				t.Errorf("got %d %s, want %d", status, body, test.status)
			}
			if diff := cmp.Diff(test.asked, access.asked); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// A certificate of another authority does not even get through the handshake.
func TestStrangersCertificate(t *testing.T) {
	g := serve(t, nil, nil)
	mine := g.authority
	g.authority = newAuthority(t)
	client := g.client("kube-apiserver-kubelet-client", "system:masters")
	client.Transport.(*http.Transport).TLSClientConfig.RootCAs.AddCert(mine.cert)
	if answer, err := client.Get("https://" + g.addr + "/healthz"); err == nil {
		answer.Body.Close()
		t.Errorf("let in with %d", answer.StatusCode)
	}
}

func TestPlainAnswers(t *testing.T) {
	logs := t.TempDir()
	if err := os.WriteFile(filepath.Join(logs, "sinawi.log"), []byte("line"), 0o644); err != nil {
		t.Fatal(err)
	}
	healthy := errors.New("the sync loop stands still")
	g := serve(t, nil, func(d *server.Deps, o *server.Options) {
		d.Healthy = func() error { return healthy }
		o.LogsDir = logs
		o.Config = map[string]int{"maxPods": 110}
	})
	g.pods = []*corev1.Pod{{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "default"}}}
	for path, want := range map[string]int{"/healthz": 500, "/healthz/ping": 200, "/none": 404, "/stats/summary": 404, "/logs/none": 404} {
		if status, body := g.get(path); status != want {
			t.Errorf("%s: got %d %s, want %d", path, status, body, want)
		}
	}
	if _, body := g.get("/logs/sinawi.log"); body != "line" {
		t.Errorf("log %q", body)
	}
	if _, body := g.get("/configz"); body != `{"kubeletconfig":{"maxPods":110}}` {
		t.Errorf("configuration %s", body)
	}
	var list corev1.PodList
	if _, body := g.get("/pods"); json.Unmarshal([]byte(body), &list) != nil || list.Kind != "PodList" || len(list.Items) != 1 || list.Items[0].Name != "web" {
		t.Errorf("pods: %s", body)
	}
	if _, err := server.New(server.Deps{}, server.Options{ClientCA: []byte("nothing")}); err == nil {
		t.Error("a server without authorities")
	}
}
