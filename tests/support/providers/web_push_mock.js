// The push service of npm's web-push-testing in the foreground, on a given port: node web_push_mock.js MODULES PORT
const [modules, port] = process.argv.slice(2);
const model = require(`${modules}/web-push-testing/src/PushApiModel.js`);
const Server = require(`${modules}/web-push-testing/src/server.js`);
const Model = model.PushApiModel || model;
new Server(new Model(), Number(port)).startServer();
