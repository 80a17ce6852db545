package main

import (
	"bytes"
	"io"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"github.com/sinawi/sinawi/internal/apiserver/apitest"
)

func compared(t *testing.T, reference, checked *server, o options) *report {
	t.Helper()
	o.seed = 7
	r, err := parity(t.Context(), reference, checked, o, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func connected(t *testing.T, s *apitest.Server) *server {
	t.Helper()
	c, err := connect(s.Config)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// forgetful is a server that says something else than the one behind it.
type forgetful struct {
	http.RoundTripper
	says, instead string
}

func (f forgetful) RoundTrip(r *http.Request) (*http.Response, error) {
	got, err := f.RoundTripper.RoundTrip(r)
	if err != nil || !strings.Contains(r.URL.Path, "/pods") {
		return got, err
	}
	defer got.Body.Close()
	data, err := io.ReadAll(got.Body)
	if err != nil {
		return nil, err
	}
	got.Body = io.NopCloser(bytes.NewReader(bytes.ReplaceAll(data, []byte(f.says), []byte(f.instead))))
	return got, nil
}

func TestParity(t *testing.T) {
	one, other := apitest.Start(t), apitest.Start(t)
	t.Run("two alike", func(t *testing.T) {
		r := compared(t, connected(t, one), connected(t, other), options{count: 8})
		for _, f := range r.order {
			t.Errorf("%s %s: %s is %s and %s", f.Operation, f.Resource, f.Path, f.Reference, f.Checked)
		}
		if r.sent < 1000 {
			t.Errorf("sent %d requests, want some for each kind", r.sent)
		}
	})
	for _, tt := range []struct{ name, says, instead, path string }{
		{"another default", `"dnsPolicy":"ClusterFirst"`, `"dnsPolicy":"Default"`, ".spec.dnsPolicy"},
		{"a field that is lost", `"schedulerName":"default-scheduler",`, ``, ".spec.schedulerName"},
		{"an error in other words", `must be`, `has to be`, ".details.causes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			checked := connected(t, other)
			checked.client = &http.Client{Transport: forgetful{checked.client.Transport, tt.says, tt.instead}}
			r := compared(t, connected(t, one), checked, options{kinds: "pods", count: 20})
			found := false
			for _, f := range r.order {
				found = found || f.Path == tt.path
			}
			if !found {
				t.Errorf("found %d differences, none at %s", len(r.order), tt.path)
			}
		})
	}
}

func TestVariationsRepeat(t *testing.T) {
	seeds, err := readSeeds(seedsYAML)
	if err != nil {
		t.Fatal(err)
	}
	r := &run{seed: 3, samples: &samples{}}
	make := func() (all []object) {
		v := r.random(kind{resource: "pods"}, "create")
		for range 50 {
			all = append(all, v.vary(seeds["Pod"][0], seeds["Pod"][1]))
		}
		return all
	}
	first, again := make(), make()
	if !reflect.DeepEqual(first, again) {
		t.Error("the same seed makes other objects")
	}
	if reflect.DeepEqual(first[0], first[1]) {
		t.Error("variations do not vary")
	}
}

func TestCompare(t *testing.T) {
	refused := func(causes ...any) answer {
		return answer{code: 422, body: object{"kind": "Status", "message": "all of it", "details": object{"causes": causes}}}
	}
	cause := func(field, message string) any { return object{"field": field, "message": message} }
	for _, tt := range []struct {
		name      string
		a, b      answer
		different []string
	}{
		{"addresses and times", answer{code: 201, body: object{"clusterIP": "1", "time": "x"}}, answer{code: 201, body: object{"clusterIP": "2", "time": "y"}}, nil},
		{"no address", answer{code: 201, body: object{"clusterIP": "None"}}, answer{code: 201, body: object{"clusterIP": "2"}}, []string{".clusterIP"}},
		{"generated names", answer{code: 201, body: object{"metadata": object{"generateName": "a", "name": "ab"}}},
			answer{code: 201, body: object{"metadata": object{"generateName": "a", "name": "ac"}}}, nil},
		{"owners of generated names", answer{code: 200, body: object{`k:{"name":"kube-api-access-bbbbb"}`: object{}}},
			answer{code: 200, body: object{`k:{"name":"kube-api-access-ccccc"}`: object{}}}, nil},
		{"order of errors", refused(cause("a", "1"), cause("b", "2")), refused(cause("b", "2"), cause("a", "1")), nil},
		{"an error more", refused(cause("a", "1")), refused(cause("a", "1"), cause("b", "2")), []string{".details.causes"}},
		{"printed objects", refused(cause("a", "Invalid value: {Go}: bad")), refused(cause("a", `Invalid value: {"json": 1}: bad`)), nil},
		{"parts of objects", refused(cause("a", "Invalid value: null: bad")), refused(cause("a", `Invalid value: "x": bad`)), nil},
		{"other words about objects", refused(cause("a", "Invalid value: null: bad")), refused(cause("a", `Invalid value: "x": good`)), []string{".details.causes", ".details.causes"}},
		{"accepted", answer{code: 201}, refused(), []string{"code", "answer"}},
		{"warned", answer{code: 200, warnings: []string{"w"}}, answer{code: 200}, []string{"warning"}},
		{"lists", answer{code: 200, body: []any{"a"}}, answer{code: 200, body: []any{"b", "c"}}, []string{" (length)", "[]"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var paths []string
			for _, d := range compare(tt.a, tt.b) {
				paths = append(paths, d.Path)
			}
			if !reflect.DeepEqual(paths, tt.different) {
				t.Errorf("differ at %q, want %q", paths, tt.different)
			}
		})
	}
}

func TestPairs(t *testing.T) {
	p := pairs{}
	p.learn(object{"uid": "x", "ports": []any{object{"nodePort": 30001.0, "port": 80.0}}}, object{"uid": "y", "ports": []any{object{"nodePort": 30002.0, "port": 80.0}}})
	got := p.translate(object{"owner": "x", "nodePort": 30001.0, "port": 80.0})
	if want := (object{"owner": "y", "nodePort": 30002.0, "port": 80.0}); !reflect.DeepEqual(got, want) {
		t.Errorf("translated to %v, want %v", got, want)
	}
}

func TestOptions(t *testing.T) {
	for _, tt := range []struct {
		name string
		err  func() error
		says string
	}{
		{"one server", func() error { _, err := check(t.Context(), options{reference: "a"}, io.Discard); return err }, "-reference and -checked"},
		{"no such file", func() error {
			_, err := check(t.Context(), options{reference: "/nonexistent", checked: "b"}, io.Discard)
			return err
		}, "/nonexistent"},
		{"format", func() error { _, err := printer("xml"); return err }, "table and json"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := tt.err(); err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("got %v, want something about %s", err, tt.says)
			}
		})
	}
}
