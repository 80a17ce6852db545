package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// server is one of the two.
type server struct {
	client *http.Client
	base   string
}

// answer is what a request got, with its body as JSON has it.
type answer struct {
	code     int
	warnings []string
	body     any
}

func (a answer) ok() bool { return a.code < http.StatusMultipleChoices }

func dial(kubeconfig string) (*server, error) {
	cfg, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("kubeconfig %s: %w", kubeconfig, err)
	}
	return connect(cfg)
}

func connect(cfg *rest.Config) (*server, error) {
	client, err := rest.HTTPClientFor(cfg)
	if err != nil {
		return nil, err
	}
	base, _, err := rest.DefaultServerUrlFor(cfg)
	if err != nil {
		return nil, err
	}
	return &server{client: client, base: strings.TrimSuffix(base.String(), "/")}, nil
}

// do sends body, unless it is nil, as JSON. An error is one of the connection.
func (s *server) do(ctx context.Context, method, path string, body any) (answer, error) {
	var content io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return answer{}, err
		}
		content = bytes.NewReader(data)
	}
	r, err := http.NewRequestWithContext(ctx, method, s.base+path, content)
	if err != nil {
		return answer{}, err
	}
	r.Header.Set("Accept", "application/json")
	r.Header.Set("Content-Type", "application/json")
	got, err := s.client.Do(r)
	if err != nil {
		return answer{}, err
	}
	defer got.Body.Close()
	data, err := io.ReadAll(got.Body)
	if err != nil {
		return answer{}, fmt.Errorf("%s %s: %w", method, path, err)
	}
	a := answer{code: got.StatusCode, warnings: slices.Sorted(slices.Values(got.Header.Values("Warning")))}
	if json.Unmarshal(data, &a.body) != nil {
		a.body = string(data)
	}
	return a, nil
}

// answers is do, where a connection that breaks is an answer too: so it looks from
// outside when a server panics.
func (s *server) answers(ctx context.Context, method, path string, body any) (answer, error) {
	a, err := s.do(ctx, method, path, body)
	if err != nil && ctx.Err() == nil {
		return answer{code: http.StatusBadGateway, body: "no answer"}, nil
	}
	return a, err
}

// read gets path into an object.
func (s *server) read(ctx context.Context, path string) (map[string]any, error) {
	a, err := s.do(ctx, http.MethodGet, path, nil)
	if err != nil {
		return nil, err
	}
	object, ok := a.body.(map[string]any)
	if !a.ok() || !ok {
		return nil, fmt.Errorf("GET %s: %d: %v", path, a.code, a.body)
	}
	return object, nil
}
