// Package check asks a container once how it is: by a command, an HTTP request, a
// TCP connection or the gRPC health protocol. It keeps no state and decides
// nothing: what an answer means is package probe's to say.
package check

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// maxOutput is as much of an answer as is kept.
const maxOutput = 10 << 10

// Answer is what a container said.
type Answer struct {
	OK     bool
	Output string
	// Warning: the answer counts as good but is not as it should be.
	Warning bool
}

// Target is a container to ask.
type Target struct {
	Container *corev1.Container
	ID        string
	IP        string
}

// Checker asks. The zero Runtime can ask all but commands.
type Checker struct {
	Runtime cri.RuntimeServiceClient
}

// Ask makes one check within the probe's timeout. An error means that the
// question could not be put at all.
func (c Checker) Ask(ctx context.Context, t Target, p *corev1.Probe) (Answer, error) {
	timeout := time.Duration(max(p.TimeoutSeconds, 1)) * time.Second
	switch {
	case p.Exec != nil:
		return c.exec(ctx, t, p.Exec.Command, timeout)
	case p.HTTPGet != nil:
		return HTTP(ctx, t, p.HTTPGet, timeout)
	case p.TCPSocket != nil:
		return tcp(ctx, t, p.TCPSocket, timeout)
	case p.GRPC != nil:
		return grpcHealth(ctx, t, p.GRPC, timeout)
	}
	return Answer{}, fmt.Errorf("missing probe handler for container %s", t.Container.Name)
}

func (c Checker) exec(ctx context.Context, t Target, command []string, timeout time.Duration) (Answer, error) {
	answer, err := c.Runtime.ExecSync(ctx, &cri.ExecSyncRequest{ContainerId: t.ID, Cmd: command, Timeout: int64(timeout / time.Second)})
	if err != nil {
		if deadline(err) {
			return Answer{Output: fmt.Sprintf("command timed out: %q timed out after %s", command, timeout)}, nil
		}
		return Answer{}, err
	}
	output := cut(string(answer.Stdout) + string(answer.Stderr))
	return Answer{OK: answer.ExitCode == 0, Output: output}, nil
}

func cut(s string) string {
	if len(s) > maxOutput {
		return s[:maxOutput]
	}
	return s
}

func tcp(ctx context.Context, t Target, action *corev1.TCPSocketAction, timeout time.Duration) (Answer, error) {
	address, err := t.address(action.Host, action.Port)
	if err != nil {
		return Answer{}, err
	}
	dialer := &net.Dialer{Timeout: timeout}
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return Answer{Output: err.Error()}, nil
	}
	conn.Close()
	return Answer{OK: true}, nil
}

func (t Target) address(host string, port intstr.IntOrString) (string, error) {
	number, err := Port(t.Container, port)
	if err != nil {
		return "", err
	}
	if host == "" {
		host = t.IP
	}
	return net.JoinHostPort(host, strconv.Itoa(number)), nil
}

// Port resolves a port that may be named.
func Port(c *corev1.Container, port intstr.IntOrString) (int, error) {
	number := port.IntValue()
	if port.Type == intstr.String {
		for _, p := range c.Ports {
			if p.Name == port.StrVal {
				number = int(p.ContainerPort)
			}
		}
	}
	if number < 1 || number > 65535 {
		return 0, fmt.Errorf("couldn't find port: %s of container %s", port.String(), c.Name)
	}
	return number, nil
}
