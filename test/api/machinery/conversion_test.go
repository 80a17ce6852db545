package machinery

import (
	"fmt"
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
)

// convert answers a review of objects with hostPort in v1, host and port in v2.
func convert(review *apiextensionsv1.ConversionReview) {
	request := review.Request
	response := &apiextensionsv1.ConversionResponse{UID: request.UID, Result: metav1.Status{Status: metav1.StatusSuccess}}
	for _, raw := range request.Objects {
		o := &unstructured.Unstructured{}
		if err := o.UnmarshalJSON(raw.Raw); err != nil {
			response.Result = metav1.Status{Status: metav1.StatusFailure, Message: err.Error()}
			break
		}
		if o.GetName() == "unconvertible" {
			response.Result = metav1.Status{Status: metav1.StatusFailure, Message: "it cannot be converted"}
			break
		}
		if strings.HasSuffix(request.DesiredAPIVersion, "/v2") {
			if hostPort, ok := o.Object["hostPort"].(string); ok {
				host, port, _ := strings.Cut(hostPort, ":")
				delete(o.Object, "hostPort")
				o.Object["host"], o.Object["port"] = host, port
			}
		} else if o.Object["host"] != nil {
			o.Object["hostPort"] = fmt.Sprintf("%v:%v", o.Object["host"], o.Object["port"])
			delete(o.Object, "host")
			delete(o.Object, "port")
		}
		o.SetAPIVersion(request.DesiredAPIVersion)
		response.ConvertedObjects = append(response.ConvertedObjects, runtime.RawExtension{Object: o})
	}
	review.Request, review.Response = nil, response
}

// converted defines a kind of two versions that a webhook converts.
func (c *cluster) converted() *apiextensionsv1.CustomResourceDefinition {
	c.Helper()
	crd := definition(c.ns, version("v1", true, preserving()), version("v2", false, preserving()))
	crd.Spec.Conversion = &apiextensionsv1.CustomResourceConversion{
		Strategy: apiextensionsv1.WebhookConverter,
		Webhook:  &apiextensionsv1.WebhookConversion{ClientConfig: c.converter(), ConversionReviewVersions: []string{"v1", "v1beta1"}},
	}
	return c.define(crd)
}

// Conformance: [sig-api-machinery] CustomResourceConversionWebhook [Privileged:ClusterAdmin] should be able to convert from CR v1 to CR v2
func TestConversion(t *testing.T) {
	c := begin(t)
	crd := c.converted()
	try(c.of(crd, "v1").Create(c.ctx, with(foo(crd, "v1", "one"), "hostPort", "localhost:8080"), metav1.CreateOptions{})).or(c)
	o := try(c.of(crd, "v2").Get(c.ctx, "one", metav1.GetOptions{})).or(c)
	if at(o, "host") != "localhost" || at(o, "port") != "8080" || at(o, "hostPort") != nil || !strings.HasSuffix(o.GetAPIVersion(), "/v2") {
		t.Errorf("v2 is %v", o.Object)
	}
	o = try(c.of(crd, "v2").Update(c.ctx, with(o, "port", "9090"), metav1.UpdateOptions{})).or(c)
	if at(o, "port") != "9090" {
		t.Errorf("written as %v", o.Object)
	}
	if o = try(c.of(crd, "v1").Get(c.ctx, "one", metav1.GetOptions{})).or(c); at(o, "hostPort") != "localhost:9090" {
		t.Errorf("v1 is %v", o.Object)
	}
	_, err := c.of(crd, "v2").Create(c.ctx, foo(crd, "v2", "unconvertible"), metav1.CreateOptions{})
	c.refused(err, apierrors.IsInternalError, "conversion webhook for "+crd.Spec.Group+"/v2, Kind=Foo failed: it cannot be converted")
}

// Conformance: [sig-api-machinery] CustomResourceConversionWebhook [Privileged:ClusterAdmin] should be able to convert a non homogeneous list of CRs
func TestConversionOfList(t *testing.T) {
	c := begin(t)
	crd := c.converted()
	try(c.of(crd, "v1").Create(c.ctx, with(foo(crd, "v1", "one"), "hostPort", "localhost:8080"), metav1.CreateOptions{})).or(c)
	c.change(crd.Name, func(crd *apiextensionsv1.CustomResourceDefinition) {
		crd.Spec.Versions[0].Storage, crd.Spec.Versions[1].Storage = false, true
	})
	two := with(with(foo(crd, "v2", "two"), "host", "elsewhere"), "port", "1")
	try(c.of(crd, "v2").Create(c.ctx, two, metav1.CreateOptions{})).or(c)
	for version, field := range map[string]string{"v1": "hostPort", "v2": "host"} {
		list := try(c.of(crd, version).List(c.ctx, metav1.ListOptions{})).or(c)
		if len(list.Items) != 2 || !strings.HasSuffix(list.GetAPIVersion(), "/"+version) {
			t.Fatalf("%d objects in %s", len(list.Items), list.GetAPIVersion())
		}
		for _, o := range list.Items {
			if at(&o, field) == nil || !strings.HasSuffix(o.GetAPIVersion(), "/"+version) {
				t.Errorf("in %s there is %v", version, o.Object)
			}
		}
	}
}
