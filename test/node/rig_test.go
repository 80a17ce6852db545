package node

import (
	"context"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/sinawi/sinawi/lab/labtest"
)

// machine is a lab node with the checks of this package's tests on it.
type machine struct{ *labtest.Machine }

// newMachine returns a machine on which nothing runs yet.
func newMachine(t *testing.T, flags ...string) *machine {
	t.Helper()
	return &machine{labtest.New(t, flags...)}
}

// on returns the machine for a subtest, whose failures are its own.
func (m *machine) on(t *testing.T) *machine { return &machine{m.On(t)} }

// in is the machine seen from another namespace.
func (m *machine) in(namespace string) *machine { return &machine{m.In(namespace)} }

// get asks for a page from the machine itself, by a connection of its own.
func (m *machine) get(url string) (string, error) {
	client := &http.Client{
		Timeout: 5 * time.Second,
		Transport: &http.Transport{
			DisableKeepAlives: true,
			DialContext: func(ctx context.Context, network, address string) (conn net.Conn, err error) {
				err = m.Dial(func() error {
					conn, err = (&net.Dialer{}).DialContext(ctx, network, address)
					return err
				})
				return conn, err
			},
		},
	}
	resp, err := client.Get(url)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return string(body), err
}
