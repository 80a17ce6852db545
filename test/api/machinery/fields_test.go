package machinery

import (
	"strings"
	"sync"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// written is the outcome of a write in one mode of field validation.
type written struct {
	err      error
	warnings []string
}

// warnings keeps the warnings of answers.
type warnings struct {
	mu   sync.Mutex
	text []string // guarded by mu
}

func (w *warnings) HandleWarningHeader(_ int, _, text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.text = append(w.text, text)
}

// warned is a client of its own that keeps the warnings.
func (c *cluster) warned() (kubernetes.Interface, *warnings) {
	c.Helper()
	w := &warnings{}
	config := rest.CopyConfig(c.server.Config)
	config.WarningHandler = w
	return kubernetes.NewForConfigOrDie(config), w
}

// post creates from raw bytes, put applies them, in a mode of validation.
func (c *cluster) post(path, mode, body string) written {
	client, w := c.warned()
	err := client.CoreV1().RESTClient().Post().AbsPath(path).Param("fieldValidation", mode).
		SetHeader("Content-Type", "application/json").Body([]byte(body)).Do(c.ctx).Error()
	return written{err, w.text}
}

func (c *cluster) put(path, mode, body string) written {
	client, w := c.warned()
	err := client.CoreV1().RESTClient().Patch(types.ApplyYAMLPatchType).AbsPath(path).Param("fieldValidation", mode).
		Param("fieldManager", "test").Param("force", "true").Body([]byte(body)).Do(c.ctx).Error()
	return written{err, w.text}
}

// complains checks that all texts are in the refusal, or in the warnings.
func (c *cluster) complains(strict bool, w written, texts ...string) {
	c.Helper()
	var got string
	switch {
	case strict && w.err != nil:
		got = w.err.Error()
	case strict:
		c.Errorf("not refused")
		return
	case w.err != nil:
		c.Errorf("refused: %v", w.err)
		return
	default:
		got = strings.Join(w.warnings, "; ")
	}
	for _, text := range texts {
		if !strings.Contains(got, text) {
			c.Errorf("says %q, not %q", got, text)
		}
	}
}

const strict, warn, ignore = "Strict", "Warn", "Ignore"

// Conformance: [sig-api-machinery] FieldValidation should detect unknown and duplicate fields of a typed object
func TestFieldsOfTypedObject(t *testing.T) {
	c := begin(t)
	path := "/apis/apps/v1/namespaces/" + c.ns + "/deployments"
	body := func(name string) string {
		return `{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"` + name + `","labels":{"app":"nginx"}},
"spec":{"unknown1":"val1","unknownDupe":"valDupe","unknownDupe":"valDupe2","paused":true,"paused":false,"selector":{"matchLabels":{"app":"nginx"}},
"template":{"metadata":{"labels":{"app":"nginx"}},"spec":{"containers":[{"name":"nginx","image":"nginx:latest",
"unknownNested":"val1","unknownNestedDupe":"a","unknownNestedDupe":"b","imagePullPolicy":"Always","imagePullPolicy":"Never"}]}}}}`
	}
	want := []string{
		`unknown field "spec.unknown1"`, `unknown field "spec.unknownDupe"`, `duplicate field "spec.paused"`,
		`unknown field "spec.template.spec.containers[0].unknownNested"`, `unknown field "spec.template.spec.containers[0].unknownNestedDupe"`,
		`duplicate field "spec.template.spec.containers[0].imagePullPolicy"`,
	}
	w := c.post(path, strict, body("strict"))
	c.complains(true, w, append(want, "strict decoding error: ")...)
	c.complains(false, c.post(path, warn, body("warn")), want...)
	c.complains(false, c.post(path, "", body("default")), want...)
	if w := c.post(path, ignore, body("ignore")); w.err != nil || len(w.warnings) != 0 {
		t.Errorf("ignoring: %v, %v", w.err, w.warnings)
	}
	c.refused(c.post(path, "Nonsense", body("x")).err, nil, `fieldValidation: Unsupported value: "Nonsense": supported values: "", "Ignore", "Strict", "Warn"`)
}

// Conformance: [sig-api-machinery] FieldValidation should detect unknown metadata fields of a typed object
func TestMetadataOfTypedObject(t *testing.T) {
	c := begin(t)
	path := "/apis/apps/v1/namespaces/" + c.ns + "/deployments"
	body := `{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"d","unknownMeta":"x","labels":{"app":"a"}},
"spec":{"selector":{"matchLabels":{"app":"a"}},"template":{"metadata":{"labels":{"app":"a"},"unknownTemplateMeta":"y"},"spec":{"containers":[{"name":"c","image":"i"}]}}}}`
	want := []string{`unknown field "metadata.unknownMeta"`, `unknown field "spec.template.metadata.unknownTemplateMeta"`}
	c.complains(true, c.post(path, strict, body), want...)
	c.complains(false, c.post(path, warn, body), want...)
	yaml := strings.Replace(body, `"name":"d",`, `"name":"applied",`, 1)
	// Applying says it with the words of its own parser.
	c.complains(true, c.put(path+"/applied", strict, yaml), `unknownMeta`)
}

// checked is a schema with a few fields.
func checked() *apiextensionsv1.JSONSchemaProps {
	embedded := apiextensionsv1.JSONSchemaProps{
		Type: "object", XEmbeddedResource: true, XPreserveUnknownFields: ptr(true),
		Properties: map[string]apiextensionsv1.JSONSchemaProps{
			"apiVersion": {Type: "string"}, "kind": {Type: "string"}, "metadata": {Type: "object"},
		},
	}
	return &apiextensionsv1.JSONSchemaProps{Type: "object", Properties: map[string]apiextensionsv1.JSONSchemaProps{
		"spec": {Type: "object", Required: []string{"foo"}, Properties: map[string]apiextensionsv1.JSONSchemaProps{
			"foo": {Type: "string"}, "cronSpec": {Type: "string", Pattern: `^(\d+|\*)(/\d+)?(\s+(\d+|\*)(/\d+)?){4}$`},
			"ports": {Type: "array", XListType: ptr("map"), XListMapKeys: []string{"containerPort"}, Items: &apiextensionsv1.JSONSchemaPropsOrArray{
				Schema: &apiextensionsv1.JSONSchemaProps{Type: "object", Required: []string{"containerPort"}, Properties: map[string]apiextensionsv1.JSONSchemaProps{
					"containerPort": {Type: "integer"}, "hostPort": {Type: "integer"},
				}},
			}},
			"template": embedded,
		}},
	}}
}

// paths of a definition's resources, and the start of an object's body.
func paths(c *cluster, crd *apiextensionsv1.CustomResourceDefinition) (path, head string) {
	return "/apis/" + crd.Spec.Group + "/v1/namespaces/" + c.ns + "/foos", `{"apiVersion":"` + crd.Spec.Group + `/v1","kind":"Foo",`
}

// Conformance: [sig-api-machinery] FieldValidation should create/apply a CR with unknown fields for CRD with no validation schema
func TestFieldsWithoutSchema(t *testing.T) {
	c := begin(t)
	path, head := paths(c, c.define(simple(c.ns)))
	for _, w := range []written{
		c.post(path, strict, head+`"metadata":{"name":"a"},"spec":{"foo":"foo1","cronSpec":"* * * * */5"}}`),
		c.put(path+"/b", strict, head+`"metadata":{"name":"b"},"spec":{"foo":"foo1","any":{"thing":[1]}}}`),
	} {
		if w.err != nil || len(w.warnings) != 0 {
			t.Errorf("%v, %v", w.err, w.warnings)
		}
	}
}

// Conformance: [sig-api-machinery] FieldValidation should create/apply a valid CR for CRD with validation schema
func TestFieldsOfValidResource(t *testing.T) {
	c := begin(t)
	path, head := paths(c, c.define(definition(c.ns, version("v1", true, checked()))))
	spec := `"spec":{"foo":"foo1","cronSpec":"* * * * */5","ports":[{"containerPort":8080}]}}`
	for _, w := range []written{
		c.post(path, strict, head+`"metadata":{"name":"a"},`+spec), c.put(path+"/b", strict, head+`"metadata":{"name":"b"},`+spec),
	} {
		if w.err != nil || len(w.warnings) != 0 {
			t.Errorf("%v, %v", w.err, w.warnings)
		}
	}
}

// Conformance: [sig-api-machinery] FieldValidation should create/apply an invalid CR with extra properties for CRD with validation schema
func TestFieldsOfInvalidResource(t *testing.T) {
	c := begin(t)
	path, head := paths(c, c.define(definition(c.ns, version("v1", true, checked()))))
	spec := `"spec":{"foo":"foo1","extraProperty":"arbitrary","ports":[{"containerPort":8080,"hostPort":8081,"hostPort":8082,"unknownNested":"val"}]}}`
	want := []string{`unknown field "spec.extraProperty"`, `unknown field "spec.ports[0].unknownNested"`}
	c.complains(true, c.post(path, strict, head+`"metadata":{"name":"a"},`+spec), append(want, `duplicate field "spec.ports[0].hostPort"`)...)
	c.complains(false, c.post(path, warn, head+`"metadata":{"name":"a"},`+spec), append(want, `duplicate field "spec.ports[0].hostPort"`)...)
	single := strings.Replace(spec, `"hostPort":8082,`, "", 1)
	c.complains(true, c.put(path+"/b", strict, head+`"metadata":{"name":"b"},`+single), ".spec.extraProperty: field not declared in schema")
	// To apply what the schema does not know is refused in every mode.
	c.complains(true, c.put(path+"/b", warn, head+`"metadata":{"name":"b"},`+single), ".spec.extraProperty: field not declared in schema")
	w := c.post(path, strict, head+`"metadata":{"name":"c"},"spec":{"cronSpec":"often"}}`)
	c.complains(true, w, "spec.foo: Required value", `spec.cronSpec: Invalid value: "often": spec.cronSpec in body should match`)
}

// Conformance: [sig-api-machinery] FieldValidation should detect duplicates in a CR when preserving unknown fields
func TestDuplicatesInPreservingResource(t *testing.T) {
	c := begin(t)
	path, head := paths(c, c.define(simple(c.ns)))
	body := head + `"metadata":{"name":"a"},"spec":{"foo":"foo1","foo":"foo2","knownField1":"x","unknown":{"dup":1,"dup":2}}}`
	want := []string{`duplicate field "spec.foo"`, `duplicate field "spec.unknown.dup"`}
	c.complains(true, c.post(path, strict, body), want...)
	c.complains(false, c.post(path, warn, body), want...)
	c.complains(true, c.put(path+"/b", strict, head+"\"metadata\":{\"name\":\"b\"},\"spec\":{\"foo\":\"foo1\",\n\"foo\":\"foo2\"}}"), `foo`)
}

// Conformance: [sig-api-machinery] FieldValidation should detect unknown metadata fields in both the root and embedded object of a CR
func TestMetadataOfResource(t *testing.T) {
	c := begin(t)
	path, head := paths(c, c.define(definition(c.ns, version("v1", true, checked()))))
	body := head + `"metadata":{"name":"a","unknownMeta":"x"},"spec":{"foo":"x","template":{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p","unknownSubMeta":"y"},"spec":{}}}}`
	want := []string{`unknown field "metadata.unknownMeta"`, `unknown field "spec.template.metadata.unknownSubMeta"`}
	c.complains(true, c.post(path, strict, body), want...)
	c.complains(false, c.post(path, warn, body), want...)
	// Applying refuses the first it cannot place.
	c.complains(true, c.put(path+"/b", strict, strings.Replace(body, `"name":"a"`, `"name":"b"`, 1)), "unknownMeta")
}
