package check

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

const (
	userAgent    = "kube-probe/1.37"
	maxRedirects = 10
)

// HTTP makes a GET request as a probe or a lifecycle hook asks for it.
func HTTP(ctx context.Context, t Target, action *corev1.HTTPGetAction, timeout time.Duration) (Answer, error) {
	request, err := httpRequest(ctx, t, action)
	if err != nil {
		return Answer{}, err
	}
	transport := &http.Transport{
		TLSClientConfig:    &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // a probe asks whether the server answers, not who it is
		DisableKeepAlives:  true,
		DisableCompression: true,
	}
	defer transport.CloseIdleConnections()
	host := request.URL.Hostname()
	client := &http.Client{Timeout: timeout, Transport: transport, CheckRedirect: func(next *http.Request, via []*http.Request) error {
		if next.URL.Hostname() != host {
			return http.ErrUseLastResponse // another host says nothing of this one
		}
		if len(via) >= maxRedirects {
			return errors.New("stopped after 10 redirects")
		}
		return nil
	}}
	response, err := client.Do(request)
	if err != nil {
		return Answer{Output: err.Error()}, nil
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxOutput))
	if err != nil && len(body) == 0 {
		return Answer{}, fmt.Errorf("read the answer: %w", err)
	}
	if code := response.StatusCode; code >= http.StatusOK && code < http.StatusBadRequest {
		if code >= http.StatusMultipleChoices {
			return Answer{OK: true, Warning: true, Output: fmt.Sprintf("Probe terminated redirects, Response body: %s", body)}, nil
		}
		return Answer{OK: true, Output: string(body)}, nil
	}
	return Answer{Output: fmt.Sprintf("HTTP probe failed with statuscode: %d", response.StatusCode)}, nil
}

func httpRequest(ctx context.Context, t Target, action *corev1.HTTPGetAction) (*http.Request, error) {
	address, err := t.address(action.Host, action.Port)
	if err != nil {
		return nil, err
	}
	scheme := "http"
	if action.Scheme == corev1.URISchemeHTTPS {
		scheme = "https"
	}
	target, err := url.Parse(action.Path)
	if err != nil {
		target = &url.URL{Path: action.Path}
	}
	target.Scheme, target.Host = scheme, address
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), nil)
	if err != nil {
		return nil, fmt.Errorf("make the request: %w", err)
	}
	for _, h := range action.HTTPHeaders {
		request.Header.Add(h.Name, h.Value)
	}
	if _, ok := request.Header["User-Agent"]; !ok {
		request.Header.Set("User-Agent", userAgent)
	}
	switch accept, ok := request.Header["Accept"]; {
	case !ok:
		request.Header.Set("Accept", "*/*")
	case len(accept) == 1 && accept[0] == "":
		request.Header.Del("Accept") // set to nothing means none
	}
	if name := request.Header.Get("Host"); name != "" {
		request.Host = name
	}
	return request, nil
}

// grpcHealth asks the standard health service.
func grpcHealth(ctx context.Context, t Target, action *corev1.GRPCAction, timeout time.Duration) (Answer, error) {
	address, err := t.address("", intstr.FromInt32(action.Port))
	if err != nil {
		return Answer{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithUserAgent(userAgent))
	if err != nil {
		return Answer{}, fmt.Errorf("connect: %w", err)
	}
	defer conn.Close()
	service := ""
	if action.Service != nil {
		service = *action.Service
	}
	ctx = metadata.NewOutgoingContext(ctx, metadata.MD{})
	answer, err := grpc_health_v1.NewHealthClient(conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{Service: service}, grpc.WaitForReady(true))
	switch {
	case status.Code(err) == codes.Unimplemented:
		return Answer{Output: fmt.Sprintf("error: this server does not implement the grpc health protocol (grpc.health.v1.Health): %s", status.Convert(err).Message())}, nil
	case status.Code(err) == codes.DeadlineExceeded:
		return Answer{Output: fmt.Sprintf("timeout: failed to connect service %q within %s: %v", address, timeout, err)}, nil
	case err != nil:
		return Answer{Output: fmt.Sprintf("error: health rpc probe failed: %v", err)}, nil
	case answer.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING:
		return Answer{Output: fmt.Sprintf("service unhealthy (responded with %q)", answer.GetStatus())}, nil
	}
	return Answer{OK: true, Output: "service healthy"}, nil
}

func deadline(err error) bool {
	return status.Code(err) == codes.DeadlineExceeded || errors.Is(err, context.DeadlineExceeded)
}
