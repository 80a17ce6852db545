package main

import (
	"net/http/httptest"
	"testing"
	"time"
)

func TestAskAndAnswer(t *testing.T) {
	server := httptest.NewServer(handler(answer{Pod: "web-1", Greeting: "hello"}, "secret"))
	defer server.Close()
	for _, tt := range []struct{ path, token, want, problem string }{
		{"/", "secret", `{"pod":"web-1","greeting":"hello"}`, ""},
		{"/", "guess", "", server.URL + "/: 401 Unauthorized"},
		{"/healthz", "", "", ""},
	} {
		got, err := ask(t.Context(), server.Client(), server.URL+tt.path, tt.token)
		problem := ""
		if err != nil {
			problem = err.Error()
		}
		if got != tt.want || problem != tt.problem {
			t.Errorf("%s with token %q: got %q, %q; want %q, %q", tt.path, tt.token, got, problem, tt.want, tt.problem)
		}
	}
	if err := fetch(t.Context(), server.URL, "secret", 2, time.Millisecond); err != nil {
		t.Error(err)
	}
}

func TestArguments(t *testing.T) {
	for _, args := range [][]string{{"serve"}, {"fetch"}, {"fetch", "-times", "many", "http://web/"}} {
		if err := run(t.Context(), args); err == nil {
			t.Errorf("%v: no error", args)
		}
	}
}
