package pod

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/sinawi/sinawi/internal/apiserver/validation/check"
)

// served checks what only containers that keep running have: hooks and probes.
func (c containers) served(ctr *corev1.Container, path *field.Path) {
	grace := c.spec.TerminationGracePeriodSeconds
	if h := ctr.Lifecycle; h != nil {
		at := path.Child("lifecycle")
		if h.PostStart != nil {
			lifecycleHandler(c.List, h.PostStart, grace, at.Child("postStart"))
		}
		if h.PreStop != nil {
			lifecycleHandler(c.List, h.PreStop, grace, at.Child("preStop"))
		}
		stopSignal(c.List, c.spec, h.StopSignal, at.Child("stopSignal"))
	}
	if p := ctr.LivenessProbe; p != nil {
		at := path.Child("livenessProbe")
		probe(c.List, p, at)
		succeedsOnce(c.List, p, at)
	}
	if p := ctr.ReadinessProbe; p != nil {
		at := path.Child("readinessProbe")
		probe(c.List, p, at)
		if p.TerminationGracePeriodSeconds != nil {
			c.Invalid(at.Child("terminationGracePeriodSeconds"), *p.TerminationGracePeriodSeconds, "must not be set for readinessProbes")
		}
	}
	if p := ctr.StartupProbe; p != nil {
		at := path.Child("startupProbe")
		probe(c.List, p, at)
		succeedsOnce(c.List, p, at)
	}
}

func stopSignal(l *check.List, s *corev1.PodSpec, signal *corev1.Signal, path *field.Path) {
	switch {
	case signal == nil:
	case s.OS == nil:
		l.Forbidden(path, "may not be set for containers with empty `spec.os.name`")
	case s.OS.Name == corev1.Windows && *signal != corev1.SIGTERM && *signal != corev1.SIGKILL:
		l.Add(field.NotSupported(path, *signal, []corev1.Signal{corev1.SIGKILL, corev1.SIGTERM}))
	}
}

func succeedsOnce(l *check.List, p *corev1.Probe, path *field.Path) {
	if p.SuccessThreshold != 1 {
		l.Invalid(path.Child("successThreshold"), p.SuccessThreshold, "must be 1")
	}
}

func probe(l *check.List, p *corev1.Probe, path *field.Path) {
	handler{exec: p.Exec, httpGet: p.HTTPGet, tcpSocket: p.TCPSocket, grpc: p.GRPC}.check(l, nil, path)
	l.NonNegative(path.Child("initialDelaySeconds"), int64(p.InitialDelaySeconds))
	l.NonNegative(path.Child("timeoutSeconds"), int64(p.TimeoutSeconds))
	l.NonNegative(path.Child("periodSeconds"), int64(p.PeriodSeconds))
	l.NonNegative(path.Child("successThreshold"), int64(p.SuccessThreshold))
	l.NonNegative(path.Child("failureThreshold"), int64(p.FailureThreshold))
	if g := p.TerminationGracePeriodSeconds; g != nil && *g <= 0 {
		l.Invalid(path.Child("terminationGracePeriodSeconds"), *g, "must be greater than 0")
	}
}

func lifecycleHandler(l *check.List, h *corev1.LifecycleHandler, grace *int64, path *field.Path) {
	handler{exec: h.Exec, httpGet: h.HTTPGet, tcpSocket: h.TCPSocket, sleep: h.Sleep}.check(l, grace, path)
}

// handler is what probes and hooks have in common: one of several actions.
type handler struct {
	exec      *corev1.ExecAction
	httpGet   *corev1.HTTPGetAction
	tcpSocket *corev1.TCPSocketAction
	grpc      *corev1.GRPCAction
	sleep     *corev1.SleepAction
}

func (h handler) check(l *check.List, grace *int64, path *field.Path) {
	seen := false
	for _, action := range []struct {
		name    string
		present bool
		check   func(path *field.Path)
	}{
		{"exec", h.exec != nil, func(path *field.Path) {
			if len(h.exec.Command) == 0 {
				l.Required(path.Child("command"), "")
			}
		}},
		{"httpGet", h.httpGet != nil, func(path *field.Path) { httpGet(l, h.httpGet, path) }},
		{"tcpSocket", h.tcpSocket != nil, func(path *field.Path) { l.PortOrName(path.Child("port"), h.tcpSocket.Port) }},
		{"grpc", h.grpc != nil, func(path *field.Path) { l.PortOrName(path.Child("port"), intstr.FromInt32(h.grpc.Port)) }},
		{"sleep", h.sleep != nil, func(path *field.Path) {
			if n := h.sleep.Seconds; grace != nil && (n < 0 || n > *grace) {
				l.Invalid(path, n, fmt.Sprintf("must be non-negative and less than terminationGracePeriodSeconds (%d)", *grace))
			}
		}},
	} {
		switch {
		case !action.present:
		case seen:
			l.Forbidden(path.Child(action.name), "may not specify more than 1 handler type")
		default:
			seen = true
			action.check(path.Child(action.name))
		}
	}
	if !seen {
		l.Required(path, "must specify a handler type")
	}
}

func httpGet(l *check.List, a *corev1.HTTPGetAction, path *field.Path) {
	if a.Path == "" {
		l.Required(path.Child("path"), "")
	}
	l.PortOrName(path.Child("port"), a.Port)
	check.OneOf(l, path.Child("scheme"), a.Scheme, corev1.URISchemeHTTP, corev1.URISchemeHTTPS)
	for _, h := range a.HTTPHeaders {
		l.Messages(path.Child("httpHeaders"), h.Name, validation.IsHTTPHeaderName(h.Name))
	}
}
