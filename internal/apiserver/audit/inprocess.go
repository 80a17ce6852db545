package audit

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/uuid"
	auditinternal "k8s.io/apiserver/pkg/apis/audit"
	"k8s.io/apiserver/pkg/audit"
	"k8s.io/apiserver/pkg/endpoints/filters"
	"k8s.io/apiserver/pkg/endpoints/handlers/responsewriters"
	"k8s.io/apiserver/pkg/endpoints/request"

	"github.com/sinawi/sinawi/internal/client"
)

// InProcess records requests that come from this process and pass no handler, in
// the words of those that do.
type InProcess struct {
	audit  Audit
	codecs runtime.NegotiatedSerializer
}

// NewInProcess returns nil where nothing is recorded.
func NewInProcess(a Audit, codecs runtime.NegotiatedSerializer) client.Auditor {
	if a.Backend == nil || a.Policy == nil {
		return nil
	}
	return &InProcess{audit: a, codecs: codecs}
}

// Begin records the request of ctx, which has its user and request info.
func (p *InProcess) Begin(ctx context.Context, r client.Recorded) (context.Context, func(runtime.Object, error), error) {
	if audit.AuditContextFrom(ctx) != nil { // a request that is recorded itself asks for this one
		return ctx, func(runtime.Object, error) {}, nil
	}
	ctx = audit.WithAuditContext(ctx)
	audit.WithAuditID(ctx, types.UID(uuid.NewUUID()))
	attributes, err := filters.GetAuthorizerAttributes(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("audit: %w", err)
	}
	ac := audit.AuditContextFrom(ctx)
	rules := p.audit.Policy.EvaluatePolicyRule(attributes)
	audit.ObservePolicyLevel(ctx, rules.Level)
	if err := ac.Init(rules, p.audit.Backend); err != nil {
		return nil, nil, fmt.Errorf("audit: %w", err)
	}
	if !ac.Enabled() {
		return ctx, func(runtime.Object, error) {}, nil
	}
	asked := &http.Request{Header: http.Header{"User-Agent": {r.Agent}}, URL: &url.URL{Path: attributes.GetPath()}, RemoteAddr: "127.0.0.1:0"}
	audit.LogRequestMetadata(ctx, asked, time.Now(), attributes)
	if !ac.ProcessEventStage(ctx, auditinternal.StageRequestReceived) {
		return nil, nil, apierrors.NewInternalError(errors.New("failed to store audit event"))
	}
	switch {
	case r.Sent != nil:
		audit.LogRequestObject(ctx, r.Sent, r.Version, r.Resource, attributes.GetSubresource(), p.codecs)
	case r.Patch != nil:
		audit.LogRequestPatch(ctx, r.Patch)
	}
	return ctx, func(out runtime.Object, err error) { p.end(ctx, r.Version, out, err) }, nil
}

func (p *InProcess) end(ctx context.Context, gv schema.GroupVersion, out runtime.Object, err error) {
	ac := audit.AuditContextFrom(ctx)
	code := int32(http.StatusOK)
	if info, ok := request.RequestInfoFrom(ctx); ok && info.Verb == "create" {
		code = http.StatusCreated
	}
	if err != nil {
		status := responsewriters.ErrorToAPIStatus(err)
		out, gv, code = status, metav1.Unversioned, status.Code
	}
	if out != nil {
		audit.LogResponseObject(ctx, out, gv, p.codecs)
	}
	ac.SetEventResponseStatusCode(code)
	ac.ProcessEventStage(ctx, auditinternal.StageResponseComplete)
}
