package server

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
)

// The API server's client certificate, by which it is known.
const (
	apiServerName = "kube-apiserver-kubelet-client"
	mastersGroup  = "system:masters"
)

// Access decides about callers that are not the API server.
type Access interface {
	// Token answers whose token it is; ok is false for nobody's.
	Token(ctx context.Context, token string) (user authenticationv1.UserInfo, ok bool, err error)
	// Allowed says whether user may do what attributes describe.
	Allowed(ctx context.Context, user authenticationv1.UserInfo, attributes authorizationv1.ResourceAttributes) (bool, error)
}

// guard lets through who may call.
func (s *Server) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, ok, err := s.who(r)
		if err != nil {
			s.Log.Warn("authenticate a caller of the kubelet API", "error", err)
		}
		if !ok || err != nil {
			http.Error(w, "Unauthorized", http.StatusUnauthorized)
			return
		}
		allowed, err := s.may(r, user)
		if err != nil {
			s.Log.Warn("authorize a caller of the kubelet API", "user", user.Username, "error", err)
			http.Error(w, fmt.Sprintf("Authorization error (user=%s, verb=%s, resource=nodes)", user.Username, verb(r)), http.StatusInternalServerError)
			return
		}
		if !allowed {
			http.Error(w, fmt.Sprintf("Forbidden (user=%s, verb=%s, resource=nodes, subresource(s)=%v)", user.Username, verb(r), subresources(r.URL.Path)), http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// who is the caller, by the certificate that TLS has verified, else by token.
func (s *Server) who(r *http.Request) (authenticationv1.UserInfo, bool, error) {
	if r.TLS != nil && len(r.TLS.VerifiedChains) > 0 {
		subject := r.TLS.VerifiedChains[0][0].Subject
		return authenticationv1.UserInfo{
			Username: subject.CommonName,
			Groups:   append(slices.Clone(subject.Organization), "system:authenticated"),
		}, subject.CommonName != "", nil
	}
	scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	if !ok || !strings.EqualFold(scheme, "bearer") || token == "" || s.Access == nil {
		return authenticationv1.UserInfo{}, false, nil
	}
	return s.Access.Token(r.Context(), token)
}

func (s *Server) may(r *http.Request, user authenticationv1.UserInfo) (bool, error) {
	if user.Username == apiServerName || slices.Contains(user.Groups, mastersGroup) {
		return true, nil
	}
	if s.Access == nil {
		return false, nil
	}
	var last error
	for _, subresource := range subresources(r.URL.Path) {
		allowed, err := s.Access.Allowed(r.Context(), user, authorizationv1.ResourceAttributes{
			Verb: verb(r), Version: "v1", Resource: "nodes", Subresource: subresource, Name: s.options.NodeName,
		})
		if allowed && err == nil {
			return true, nil
		}
		last = err
	}
	return false, last
}

// verb is what a request does, in the API's words. What runs something in a
// container creates, however it is asked: a WebSocket always comes as GET.
func verb(r *http.Request) string {
	switch first(r.URL.Path) {
	case "exec", "attach", "portForward", "run":
		return "create"
	}
	switch r.Method {
	case http.MethodPost:
		return "create"
	case http.MethodPut:
		return "update"
	case http.MethodPatch:
		return "patch"
	case http.MethodDelete:
		return "delete"
	}
	return "get"
}

// subresources of the node are what a path belongs to; any of them opens it.
func subresources(path string) []string {
	switch first(path) {
	case "stats":
		return []string{"stats"}
	case "metrics":
		return []string{"metrics"}
	case "logs":
		return []string{"log"}
	case "pods", "runningpods":
		return []string{"pods", "proxy"}
	case "healthz":
		return []string{"healthz", "proxy"}
	case "configz":
		return []string{"configz", "proxy"}
	}
	return []string{"proxy"}
}

// first is the first part of a path.
func first(path string) string {
	part, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	return part
}
